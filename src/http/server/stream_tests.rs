use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const SHORT: Duration = Duration::from_millis(50);

fn wire(patience: Duration) -> (Wire<DuplexStream>, DuplexStream, Arc<Exchange>, CancellationToken) {
    let (ours, theirs) = duplex(1024);
    let (exchange, stopping) = (Arc::new(Exchange::default()), CancellationToken::new());
    let wire = Wire::new(ours, Arc::clone(&exchange), patience, stopping.clone(), Box::new(|_, _| ()));
    (wire, theirs, exchange, stopping)
}

async fn read(wire: &mut Wire<DuplexStream>) -> usize {
    wire.read(&mut [0; 128]).await.unwrap()
}

#[tokio::test]
async fn a_head_has_to_come_in_time() {
    let (mut wire, mut client, exchange, _) = wire(SHORT);
    assert!(exchange.is_fresh());
    assert_eq!(read(&mut wire).await, 0, "it waited");
    client.write_all(b"GET").await.unwrap();
    assert_eq!(read(&mut wire).await, 3);
    assert!(exchange.is_asking() && !exchange.is_fresh());
    assert_eq!(read(&mut wire).await, 0, "it waited for the rest");
}

#[tokio::test]
async fn a_length_is_seen_in_the_head_alone() {
    let (mut wire, mut client, exchange, _) = wire(SHORT);
    for (head, announces) in [
        ("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", true),
        ("\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length:4\r\n\r\nbody", true),
        ("POST / HTTP/1.1\nCONTENT-LENGTH: 4\n\n", true),
        ("POST /content-length: HTTP/1.1\r\nx-content-length: 4\r\n\r\ncontent-length: 4\r\n", false),
    ] {
        // However it comes.
        for size in [head.len(), 5] {
            for part in head.as_bytes().chunks(size) {
                client.write_all(part).await.unwrap();
                read(&mut wire).await;
            }
            assert_eq!(exchange.announces_length(), announces, "{head}");
            drop(exchange.request(false));
            assert!(!exchange.announces_length(), "it is another request's");
        }
    }
}

#[tokio::test]
async fn a_request_being_answered_and_the_next_one_are_no_matter_of_heads() {
    let (mut wire, mut client, exchange, _) = wire(SHORT);
    client.write_all(b"GET / HTTP/1.1").await.unwrap();
    read(&mut wire).await;
    let answering = exchange.request(false);
    for _ in 0..2 {
        let late = tokio::time::timeout(SHORT * 4, read(&mut wire)).await;
        assert!(late.is_err(), "it did not wait");
        assert!(!exchange.is_asking());
        // Then, between two requests.
        exchange.answering.store(false, Ordering::Relaxed);
    }
    drop(answering);
}

#[tokio::test]
async fn an_answer_that_is_not_taken_is_given_up() {
    let (mut wire, mut client, _, _) = wire(SHORT);
    let error = wire.write_all(&[0; 4096]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    // One that is taken is not, however long it takes.
    client.read_exact(&mut [0; 1024]).await.unwrap();
    let slow = async {
        for _ in 0..8 {
            tokio::time::sleep(SHORT / 4).await;
            client.read_exact(&mut [0; 512]).await.unwrap();
        }
    };
    let (written, ()) = tokio::join!(wire.write_all(&[0; 4096]), slow);
    written.unwrap();
}

#[tokio::test(start_paused = true)]
async fn an_answer_that_is_taken_too_slowly_is_given_up() {
    let patience = Duration::from_secs(30);
    let (mut wire, mut client, exchange, _) = wire(patience);
    let _answering = exchange.request(false);
    // There is never a pause that is too long; taken are 1 KiB a second, and then a quarter of that.
    let taking = async {
        for number in 0.. {
            tokio::time::sleep(Duration::from_secs(1)).await;
            let bytes = if number < 300 { 1024 } else { 256 };
            if client.read_exact(&mut vec![0; bytes]).await.is_err() {
                return number;
            }
        }
        0
    };
    let writing = async {
        let began = Instant::now();
        let error = loop {
            if let Err(error) = wire.write_all(&[0; 4096]).await {
                break error;
            }
        };
        drop(wire);
        (error, began.elapsed())
    };
    let ((error, took), _) = tokio::join!(writing, taking);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("too slowly"), "{error}");
    assert!(took > Duration::from_mins(5) && took < Duration::from_mins(5) + 4 * patience, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn each_answer_begins_with_the_same_patience() {
    let patience = Duration::from_secs(30);
    let (mut wire, mut client, exchange, _) = wire(patience);
    for _ in 0..5 {
        let _answering = exchange.request(false);
        let taking = async {
            tokio::time::sleep(patience * 3 / 4).await;
            client.read_exact(&mut [0; 2048]).await.unwrap();
        };
        let (written, ()) = tokio::join!(wire.write_all(&[0; 2048]), taking);
        written.unwrap();
    }
}

#[tokio::test]
async fn what_nobody_read_is_read_before_the_end() {
    let (mut wire, mut client, exchange, _) = wire(SHORT);
    let answering = exchange.request(true);
    wire.write_all(b"no").await.unwrap();
    drop(answering);
    let sending = async {
        client.write_all(&[0; 10_000]).await.unwrap();
        let mut answer = Vec::new();
        client.read_to_end(&mut answer).await.unwrap();
        drop(client);
        answer
    };
    let (ended, answer) = tokio::join!(wire.shutdown(), sending);
    ended.unwrap();
    assert_eq!(answer, b"no");
}

#[tokio::test]
async fn nobody_is_waited_for_who_was_read_to_the_end() {
    let (mut wire, _client, exchange, _) = wire(SHORT);
    let answering = exchange.request(true);
    exchange.all_read();
    drop(answering);
    wire.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_stop_shortens_the_wait() {
    let (mut wire, mut client, exchange, stopping) = wire(SHORT);
    drop(exchange.request(true));
    stopping.cancel();
    // A client that never stops.
    let sending = async { while client.write_all(&[0; 512]).await.is_ok() {} };
    tokio::select! {
        ended = wire.shutdown() => ended.unwrap(),
        () = sending => panic!("it closed"),
        () = tokio::time::sleep(LINGER / 2) => panic!("it lingers"),
    }
}

#[tokio::test]
async fn hypers_own_answer_gets_a_body() {
    let (mut wire, mut client, exchange, _) = wire(SHORT);
    wire.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert!(exchange.unread.load(Ordering::Relaxed), "the rest of the request may still come");
    let reading = async {
        let mut answer = String::new();
        client.read_to_string(&mut answer).await.unwrap();
        drop(client);
        answer
    };
    let (ended, answer) = tokio::join!(wire.shutdown(), reading);
    ended.unwrap();
    assert!(answer.contains("\"code\":\"malformed_request\""), "{answer}");
}

#[tokio::test(start_paused = true)]
async fn each_request_has_its_own_time() {
    let (mut wire, mut client, exchange, _) = wire(SHORT);
    for times in [SHORT, KEEP_ALIVE, KEEP_ALIVE] {
        let waited = tokio::time::timeout(times * 3 / 4, read(&mut wire)).await;
        assert!(waited.is_err(), "it did not wait");
        client.write_all(b"GET / HTTP/1.1").await.unwrap();
        read(&mut wire).await;
        // Answered before anybody reads on.
        drop(exchange.request(false));
    }
    assert_eq!(read(&mut wire).await, 0, "it waited");
}
