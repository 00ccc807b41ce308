use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};

use super::*;

const SHORT: Duration = Duration::from_millis(50);

fn stream(
    longest_pause: Duration,
) -> (TimedStream<DuplexStream>, DuplexStream, Arc<Exchange>, CancellationToken) {
    let (ours, theirs) = duplex(1024);
    let (exchange, stopping) = (Arc::new(Exchange::default()), CancellationToken::new());
    let stream =
        TimedStream::new(ours, Arc::clone(&exchange), longest_pause, stopping.clone(), Box::new(|_, _| ()));
    (stream, theirs, exchange, stopping)
}

async fn read(stream: &mut TimedStream<DuplexStream>) -> usize {
    stream.read(&mut [0; 128]).await.unwrap()
}

#[tokio::test]
async fn a_head_must_arrive_in_time() {
    let (mut stream, mut client, exchange, _) = stream(SHORT);
    assert!(exchange.is_fresh());
    assert_eq!(read(&mut stream).await, 0, "still open after the deadline");
    client.write_all(b"GET").await.unwrap();
    assert_eq!(read(&mut stream).await, 3);
    assert!(exchange.is_asking() && !exchange.is_fresh());
    assert_eq!(read(&mut stream).await, 0, "still open while the rest is missing");
}

#[tokio::test]
async fn a_content_length_counts_only_in_the_head() {
    let (mut stream, mut client, exchange, _) = stream(SHORT);
    for (head, announces) in [
        ("POST / HTTP/1.1\r\nContent-Length: 4\r\n\r\n", true),
        ("\r\nPOST / HTTP/1.1\r\nhost: a\r\ncontent-length:4\r\n\r\nbody", true),
        ("POST / HTTP/1.1\nCONTENT-LENGTH: 4\n\n", true),
        ("POST /content-length: HTTP/1.1\r\nx-content-length: 4\r\n\r\ncontent-length: 4\r\n", false),
    ] {
        // In one piece and in small ones.
        for size in [head.len(), 5] {
            for part in head.as_bytes().chunks(size) {
                client.write_all(part).await.unwrap();
                read(&mut stream).await;
            }
            assert_eq!(exchange.announces_length(), announces, "{head}");
            drop(exchange.request(false));
            assert!(!exchange.announces_length(), "the length of another request");
        }
    }
}

#[tokio::test]
async fn the_head_timeout_pauses_during_and_after_an_exchange() {
    let (mut stream, mut client, exchange, _) = stream(SHORT);
    client.write_all(b"GET / HTTP/1.1").await.unwrap();
    read(&mut stream).await;
    let answering = exchange.request(false);
    for _ in 0..2 {
        let late = tokio::time::timeout(SHORT * 4, read(&mut stream)).await;
        assert!(late.is_err(), "closed too early");
        assert!(!exchange.is_asking());
        // The second round is between two requests.
        exchange.answering.store(false, Ordering::Relaxed);
    }
    drop(answering);
}

#[tokio::test]
async fn a_response_that_is_not_read_fails() {
    let (mut stream, mut client, _, _) = stream(SHORT);
    let error = stream.write_all(&[0; 4096]).await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    // A response that is read slowly but steadily does not.
    client.read_exact(&mut [0; 1024]).await.unwrap();
    let slow = async {
        for _ in 0..8 {
            tokio::time::sleep(SHORT / 4).await;
            client.read_exact(&mut [0; 512]).await.unwrap();
        }
    };
    let (written, ()) = tokio::join!(stream.write_all(&[0; 4096]), slow);
    written.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_response_that_is_read_too_slowly_fails() {
    let longest_pause = Duration::from_secs(30);
    let (mut stream, mut client, exchange, _) = stream(longest_pause);
    let _answering = exchange.request(false);
    // No pause is too long. The client reads 1 KiB per second at first, and later a quarter of that.
    let reading = async {
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
            if let Err(error) = stream.write_all(&[0; 4096]).await {
                break error;
            }
        };
        drop(stream);
        (error, began.elapsed())
    };
    let ((error, took), _) = tokio::join!(writing, reading);
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    assert!(error.to_string().contains("too slowly"), "{error}");
    assert!(took > Duration::from_mins(5) && took < Duration::from_mins(5) + 4 * longest_pause, "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn each_response_begins_with_the_same_credit() {
    let longest_pause = Duration::from_secs(30);
    let (mut stream, mut client, exchange, _) = stream(longest_pause);
    for _ in 0..5 {
        let _answering = exchange.request(false);
        let reading = async {
            tokio::time::sleep(longest_pause * 3 / 4).await;
            client.read_exact(&mut [0; 2048]).await.unwrap();
        };
        let (written, ()) = tokio::join!(stream.write_all(&[0; 2048]), reading);
        written.unwrap();
    }
}

#[tokio::test]
async fn unread_bytes_are_read_before_the_connection_closes() {
    let (mut stream, mut client, exchange, _) = stream(SHORT);
    let answering = exchange.request(true);
    stream.write_all(b"no").await.unwrap();
    drop(answering);
    let sending = async {
        client.write_all(&[0; 10_000]).await.unwrap();
        let mut response = Vec::new();
        client.read_to_end(&mut response).await.unwrap();
        drop(client);
        response
    };
    let (ended, response) = tokio::join!(stream.shutdown(), sending);
    ended.unwrap();
    assert_eq!(response, b"no");
}

#[tokio::test]
async fn framing_without_content_is_limited() {
    let (mut stream, mut client, exchange, _) = stream(SHORT);
    let _answering = exchange.request(true);
    let sending = async { while client.write_all(&[b'0'; 512]).await.is_ok() {} };
    let reading = async {
        for _ in 0..MAX_FRAMING {
            read(&mut stream).await;
            exchange.content_read();
        }
        let mut bytes = 0;
        loop {
            match stream.read(&mut [0; 128]).await {
                Ok(read) => bytes += read as u64,
                Err(error) => break (bytes, error.kind()),
            }
        }
    };
    let (bytes, error) = tokio::select! {
        read = reading => read,
        () = sending => panic!("the client's write failed"),
    };
    assert_eq!(error, io::ErrorKind::InvalidData);
    assert!((MAX_FRAMING - 128..=MAX_FRAMING + 128).contains(&bytes), "{bytes}");
}

#[tokio::test]
async fn a_connection_without_unread_bytes_closes_at_once() {
    let (mut stream, _client, exchange, _) = stream(SHORT);
    let answering = exchange.request(true);
    exchange.all_read();
    drop(answering);
    stream.shutdown().await.unwrap();
}

#[tokio::test]
async fn a_shutdown_stops_reading_the_rest() {
    let (mut stream, mut client, exchange, stopping) = stream(SHORT);
    drop(exchange.request(true));
    stopping.cancel();
    // A client that never stops sending.
    let sending = async { while client.write_all(&[0; 512]).await.is_ok() {} };
    tokio::select! {
        ended = stream.shutdown() => ended.unwrap(),
        () = sending => panic!("the client's write failed"),
        () = tokio::time::sleep(super::super::linger::LONGEST / 2) => panic!("still reading on"),
    }
}

#[tokio::test]
async fn an_error_response_of_hyper_gets_a_body() {
    let (mut stream, mut client, exchange, _) = stream(SHORT);
    stream.write_all(b"HTTP/1.1 400 Bad Request\r\ncontent-length: 0\r\n\r\n").await.unwrap();
    assert!(exchange.unread.load(Ordering::Relaxed), "the rest of the request may still come");
    let reading = async {
        let mut response = String::new();
        client.read_to_string(&mut response).await.unwrap();
        drop(client);
        response
    };
    let (ended, response) = tokio::join!(stream.shutdown(), reading);
    ended.unwrap();
    assert!(response.contains("\"code\":\"malformed_request\""), "{response}");
}

#[tokio::test(start_paused = true)]
async fn each_request_has_its_own_deadline() {
    let (mut stream, mut client, exchange, _) = stream(SHORT);
    for times in [SHORT, KEEP_ALIVE, KEEP_ALIVE] {
        let waited = tokio::time::timeout(times * 3 / 4, read(&mut stream)).await;
        assert!(waited.is_err(), "closed too early");
        client.write_all(b"GET / HTTP/1.1").await.unwrap();
        read(&mut stream).await;
        // The exchange ends before the next read.
        drop(exchange.request(false));
    }
    assert_eq!(read(&mut stream).await, 0, "still open after the deadline");
}
