//! Requests that wait for a job: event streams, long polls, and conversions that may become jobs.

use std::io::{BufRead, BufReader, Read};
use std::net::Shutdown;
use std::time::Instant;

use reqwest::RequestBuilder;
use serde_json::Value;

use super::{FAST, accepted, assert_problem, below, header, path};
use crate::gateway::{Gateway, LONG, PAUSE, TRIANGLE};

const KEYS: (&str, &str) = ("API_KEYS", "a:aaaaaaaaaaaaaaaa,b:bbbbbbbbbbbbbbbb");

/// With this, jobs that need the engine stay unfinished.
const NO_ENGINE: (&str, &str) = ("BLENDER_PYTHON", "/bin/false");

/// A request with the key of this owner.
fn with_key(request: RequestBuilder, owner: &str) -> RequestBuilder {
    request.header("x-api-key", owner.repeat(16))
}

#[tokio::test(flavor = "multi_thread")]
async fn clients_share_the_connections_that_may_wait() {
    // Half of them, eight: four for a client that is alone, and then two for another one.
    let gateway = Gateway::start_cold(&[NO_ENGINE, KEYS, ("MAX_CONNECTIONS", "16")]);
    let submit = async |owner: &str| {
        let request = with_key(gateway.submission(FAST, TRIANGLE), owner);
        accepted(request.send().await.unwrap()).await
    };
    let stream = async |owner: &str, job: &Value| {
        let request = gateway.client.get(gateway.url(&below(job, "events")));
        with_key(request, owner).send().await.unwrap()
    };
    let (job, other) = (submit("a").await, submit("b").await);
    let mut open = Vec::new();
    for (owner, job, number, whose) in [("a", &job, 4, "this client"), ("b", &other, 2, "all clients")] {
        for _ in 0..number {
            let answer = stream(owner, job).await;
            assert_eq!(answer.status(), 200, "{owner}");
            open.push(answer);
        }
        let beyond = stream(owner, job).await;
        assert!(beyond.headers().contains_key("retry-after"));
        let sentence = assert_problem(beyond, 429, "too_many_streams").await;
        assert!(sentence.contains(whose) && sentence.contains("MAX_CONNECTIONS"), "{sentence}");
    }

    // Others are answered at once, and say so.
    let poll = gateway.client.get(gateway.url(path(&job))).header("prefer", "wait=60");
    let answer = with_key(poll, "a").send().await.unwrap();
    assert_eq!((answer.status().as_u16(), header(&answer, "preference-applied").as_str()), (200, "wait=0"));
    assert_eq!(header(&answer, "retry-after"), "1");
    let conversion = gateway.client.post(gateway.url(&format!("/v1/convert?{FAST}"))).body(TRIANGLE);
    let conversion = conversion.header("prefer", "respond-async, wait=60");
    let answer = with_key(conversion, "a").send().await.unwrap();
    assert_eq!(header(&answer, "preference-applied"), "respond-async, wait=0");
    accepted(answer).await;
    assert_eq!(gateway.get("/livez").await.status(), 200);

    drop(open);
    let began = Instant::now();
    while stream("a", &job).await.status() != 200 {
        assert!(began.elapsed() < LONG, "the places stay taken");
        tokio::time::sleep(PAUSE).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_ends_when_its_client_hangs_up() {
    // The job stays queued, without further events.
    let gateway = Gateway::start_cold(&[("WORKERS", "0")]);
    let job = gateway.submit(FAST, TRIANGLE).await;
    let mut sent = Vec::new();
    for closes_only_its_side in [true, false] {
        let mut raw = gateway.raw();
        raw.send(format!("GET {} HTTP/1.1\r\nHost: x\r\n\r\n", below(&job, "events")));
        let mut reader = BufReader::new(&raw.stream);
        let mut text = String::new();
        while !text.contains("data: ") {
            assert!(reader.read_line(&mut text).unwrap() > 0, "{text}");
        }
        if closes_only_its_side {
            raw.stream.shutdown(Shutdown::Write).unwrap();
            reader.read_to_string(&mut text).unwrap();
            assert!(!text.contains("event: end") && !text.contains("keep-alive"), "{text}");
        }
        drop(raw);
        let line = gateway.wait_for("/events");
        assert!(line.contains("status=200") && line.contains("cut=true"), "{line}");
        let bytes = line.split(' ').find_map(|field| field.strip_prefix("bytes_out=")).unwrap();
        sent.push(bytes.to_owned());
    }
    // Neither has waited for a comment that cannot be sent.
    assert_eq!(sent[0], sent[1]);
}
