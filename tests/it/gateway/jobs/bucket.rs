//! Results in a bucket: read only as far as they are sent, or fetched from the bucket by the client itself.

use std::time::Instant;

use reqwest::Response;
use reqwest::redirect::Policy;
use serde_json::Value;

use super::{REPACK, assert_problem, below, header};
use crate::cache::bucket::start;
use crate::gateway::connections::large_glb;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, PAUSE, until};
use crate::storage::backend::Backend;
use crate::storage::server::Server;

/// A job that has succeeded, whose model has a texture of this many bytes.
async fn succeeded(gateway: &Gateway, bytes: usize) -> Value {
    let job = gateway.submit(REPACK, large_glb(bytes)).await;
    gateway.succeeded(&job).await
}

/// `GET` of the result with a header.
async fn result_with(gateway: &Gateway, job: &Value, name: &str, value: &str) -> Response {
    let request = gateway.client.get(gateway.url(&below(job, "result")));
    request.header(name, value).send().await.unwrap()
}

/// Checks the answer to `HEAD`, and to a client that has the file. Neither reads anything from the store.
async fn check_without_content(gateway: &Gateway, job: &Value) {
    let (hash, length) = (job["result"]["blake3"].as_str().unwrap(), job["result"]["bytes"].to_string());
    let head = gateway.client.head(gateway.url(&below(job, "result"))).send().await.unwrap();
    assert_eq!((head.status().as_u16(), header(&head, "content-length")), (200, length));
    let known = result_with(gateway, job, "if-none-match", &format!("\"{hash}\"")).await;
    assert_eq!(known.status(), 304);
}

#[tokio::test(flavor = "multi_thread")]
async fn only_what_is_sent_of_a_result_is_read() {
    let backend = Backend::bucket_on(Server::shared(), &[]).await;
    let gateway = start(&backend, Server::shared(), &[]);
    let job = succeeded(&gateway, 2 << 20).await;
    let id = job["id"].as_str().unwrap();
    let result = format!("jobs/{}/{id}.result-", &id[id.len() - 2..]);
    let names = backend.names().await;
    let [stored] = names.iter().filter(|name| name.starts_with(&result)).collect::<Vec<_>>()[..] else {
        panic!("{names:?}");
    };
    let reads = || Server::shared().requests(&format!("GET /{}/some/prefix/{stored}", backend.bucket_name()));
    check_without_content(&gateway, &job).await;
    let whole = gateway.result(&job).await;
    assert_eq!(blake3::hash(&whole).to_hex().as_str(), job["result"]["blake3"].as_str().unwrap());
    until("the read is logged", || reads() > 0);
    assert_eq!(reads(), 1);

    // The whole of a damaged file is not sent. A small part of it is, since nothing else of the file is read.
    let other = vec![b'#'; whole.len()];
    backend.write(stored, &other).await;
    assert_problem(gateway.get(&below(&job, "result")).await, 410, "expired").await;
    for (range, part) in [("bytes=5-5", 5..6), ("bytes=-1000", whole.len() - 1000..whole.len())] {
        let answer = result_with(&gateway, &job, "range", range).await;
        assert_eq!(answer.status(), 206, "{range}");
        let content_range = format!("bytes {}-{}/{}", part.start, part.end - 1, whole.len());
        assert_eq!(header(&answer, "content-range"), content_range);
        assert_eq!(answer.bytes().await.unwrap(), other[part]);
    }
    // For a larger part, the whole file is read.
    let large = result_with(&gateway, &job, "range", "bytes=5-").await;
    assert_problem(large, 410, "expired").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn large_results_of_jobs_are_fetched_from_the_bucket() {
    let backend = Backend::bucket_on(Server::shared(), &[]).await;
    let mut gateway = start(&backend, Server::shared(), &[("PRESIGN_RESULTS", "true")]);
    let following = std::mem::replace(
        &mut gateway.client,
        reqwest::Client::builder().redirect(Policy::none()).build().unwrap(),
    );
    let job = succeeded(&gateway, 2 << 20).await;
    check_without_content(&gateway, &job).await;
    let answer = gateway.get(&below(&job, "result")).await;
    assert_eq!((answer.status().as_u16(), header(&answer, "cache-control").as_str()), (303, "no-store"));
    let hash = job["result"]["blake3"].as_str().unwrap();
    assert_eq!(header(&answer, "etag"), format!("\"{hash}\""));
    let disposition = header(&answer, "content-disposition");
    let fetched = following.get(header(&answer, "location")).send().await.unwrap();
    assert_eq!((fetched.status().as_u16(), header(&fetched, "content-disposition")), (200, disposition));
    let file = fetched.bytes().await.unwrap();
    assert_eq!(blake3::hash(&file).to_hex().as_str(), hash);

    // The bucket knows ranges, too, and clients that follow redirects notice nothing of all this.
    let part = following.get(gateway.url(&below(&job, "result"))).header("range", "bytes=5-9");
    let part = part.send().await.unwrap();
    assert_eq!((part.status().as_u16(), part.bytes().await.unwrap()), (206, file.slice(5..10)));
    let conversion = gateway.client.post(gateway.url(&format!("/v1/convert?{REPACK}")));
    let conversion = conversion.header("prefer", "respond-async, wait=60").body(large_glb(3 << 20));
    assert_eq!(conversion.send().await.unwrap().status(), 303);

    // Small results are sent in the response, as a whole or in parts.
    let small = gateway.submit(REPACK, triangle()).await;
    let small = gateway.succeeded(&small).await;
    let file = gateway.result(&small).await;
    let part = result_with(&gateway, &small, "range", "bytes=5-9").await;
    assert_eq!((part.status().as_u16(), header(&part, "repr-digest").is_empty()), (206, false));
    assert_eq!(part.bytes().await.unwrap(), file[5..10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn files_that_are_fetched_to_be_sent_share_a_limit() {
    let backend = Backend::bucket_on(Server::shared(), &[]).await;
    // Clients that do not read are not cut meanwhile.
    let gateway = start(&backend, Server::shared(), &[("MAX_UNPACKED_SIZE", "64M"), ("READ_TIMEOUT", "300")]);
    let job = succeeded(&gateway, 45 << 20).await;
    // Eight of the largest results may be sent at a time, and one client may have half of that: four of these.
    let length = job["result"]["bytes"].as_u64().unwrap();
    assert!(((512 << 20) / 10 + 1..=64 << 20).contains(&length), "{length}");
    let slow: Vec<_> = (0..4)
        .map(|_| {
            let mut raw = gateway.raw();
            raw.send(format!("GET {} HTTP/1.1\r\nhost: a\r\n\r\n", below(&job, "result")));
            raw
        })
        .collect();
    for raw in &slow {
        // The response has begun.
        raw.stream.peek(&mut [0]).unwrap();
    }
    let refused = gateway.get(&below(&job, "result")).await;
    assert!(refused.headers().contains_key("retry-after"));
    let sentence = assert_problem(refused, 503, "overloaded").await;
    assert!(sentence.contains("this client's results"), "{sentence}");
    check_without_content(&gateway, &job).await;
    assert_eq!(result_with(&gateway, &job, "range", "bytes=0-99").await.status(), 206);

    drop(slow);
    let began = Instant::now();
    loop {
        let answer = gateway.get(&below(&job, "result")).await;
        if answer.status() == 200 {
            assert_eq!(answer.bytes().await.unwrap().len() as u64, length);
            return;
        }
        assert!(began.elapsed() < LONG, "the limit stays reached");
        tokio::time::sleep(PAUSE).await;
    }
}
