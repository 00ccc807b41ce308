//! Cached results in a bucket, which are lost if the bucket is.

use reqwest::redirect::Policy;
use rustix::process::Signal;

use super::gateway::large;
use super::{answered, cache_status, conversion, conversions, header, model, until_known};
use crate::gateway::Gateway;
use crate::redis::RedisServer;
use crate::storage::backend::Backend;
use crate::storage::server::Server;

/// Starts a service that stores in the backend's bucket on the server.
pub fn start(backend: &Backend, server: &Server, more: &[(&str, &str)]) -> Gateway {
    let url = format!("s3://{}/some/prefix", backend.bucket_name());
    let usual = [
        ("STORAGE_URL", url.as_str()),
        ("AWS_ENDPOINT", &server.address),
        ("AWS_ALLOW_HTTP", "true"),
        ("AWS_ACCESS_KEY_ID", "id"),
        ("AWS_SECRET_ACCESS_KEY", "secret"),
    ];
    Gateway::start(&[&usual, more].concat())
}

#[tokio::test(flavor = "multi_thread")]
async fn conversions_survive_an_emptied_or_deleted_bucket() {
    let backend = Backend::bucket_on(Server::shared(), &[]).await;
    let gateway = start(&backend, Server::shared(), &[]);
    assert_eq!(cache_status(&conversion(&gateway).send().await.unwrap()), "miss");
    until_known(&gateway).await;
    for name in backend.names().await {
        backend.remove(&name).await;
    }
    assert_eq!(cache_status(&conversion(&gateway).send().await.unwrap()), "miss");
    // Results are stored after the response, so that objects may still arrive.
    while backend.try_to_remove_bucket().await != 204 {}
    for _ in 0..3 {
        let answer = conversion(&gateway).send().await.unwrap();
        assert_eq!(answer.status(), 200);
    }
    gateway
        .until_says("/readyz", "the bucket is gone", |ready| ready["checks"]["storage"] == "no_bucket")
        .await;
    assert_eq!(conversion(&gateway).send().await.unwrap().status(), 200);
    backend.make_bucket().await;
    gateway.until_says("/readyz", "it is there", |ready| ready["checks"]["storage"] == "ok").await;
    let before = answered(&gateway, "hit").await;
    while answered(&gateway, "hit").await == before {
        assert_eq!(conversion(&gateway).send().await.unwrap().status(), 200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn presigned_large_results_are_fetched_from_the_bucket() {
    let backend = Backend::bucket_on(Server::shared(), &[]).await;
    let gateway = start(&backend, Server::shared(), &[("PRESIGN_RESULTS", "true")]);
    let client = reqwest::Client::builder().redirect(Policy::none()).build().unwrap();
    let (small, content) = (conversion(&gateway), large());
    let first = model(&gateway, &content).send().await.unwrap();
    assert_eq!((first.status().as_u16(), cache_status(&first).as_str()), (200, "miss"));
    let (tag, disposition) = (header(&first, "etag"), header(&first, "content-disposition"));
    let file = first.bytes().await.unwrap();
    assert!(file.len() > 1 << 20, "{}", file.len());
    let ask = || model(&gateway, &content).build().unwrap();
    let mut again = client.execute(ask()).await.unwrap();
    while cache_status(&again) != "hit" || again.status() == 200 {
        again = client.execute(ask()).await.unwrap();
    }
    assert_eq!((again.status().as_u16(), header(&again, "etag")), (303, tag.clone()));
    let fetched = client.get(header(&again, "location")).send().await.unwrap();
    assert_eq!((fetched.status().as_u16(), header(&fetched, "content-disposition")), (200, disposition));
    assert_eq!(fetched.bytes().await.unwrap(), file);
    // This client follows redirects, as most do.
    assert_eq!(model(&gateway, &content).send().await.unwrap().bytes().await.unwrap(), file);
    let known = model(&gateway, &content).header("if-none-match", tag).build().unwrap();
    assert_eq!(client.execute(known).await.unwrap().status(), 304);
    // Small results are sent in the response.
    small.try_clone().unwrap().send().await.unwrap();
    while cache_status(&small.try_clone().unwrap().send().await.unwrap()) != "hit" {}
    let answer = client.execute(small.build().unwrap()).await.unwrap();
    assert_eq!((answer.status().as_u16(), cache_status(&answer).as_str()), (200, "hit"));
    assert_eq!(conversions(&gateway).await, 2);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_hanging_bucket_does_not_block_other_processes() {
    let (server, redis) = (Server::start(&["--port", "0"], &[]), RedisServer::start());
    let backend = Backend::bucket_on(&server, &[]).await;
    let url = redis.url();
    let first = start(&backend, &server, &[("REDIS_URL", &url)]);
    // Shorter than the time after which a bucket counts as unreachable.
    let second = start(&backend, &server, &[("REDIS_URL", &url), ("CONVERSION_TIMEOUT", "8")]);
    server.signal(Signal::STOP);
    for gateway in [&first, &second] {
        let answer = conversion(gateway).send().await.unwrap();
        assert_eq!((answer.status().as_u16(), cache_status(&answer).as_str()), (200, "miss"));
    }
}
