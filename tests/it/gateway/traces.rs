//! Traces, as a collector receives them.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, mpsc};
use std::time::Duration;

use super::{Gateway, LONG, TRIANGLE};

/// A fake gRPC receiver and its bytes. Protocol buffers are not compressed, so names and IDs can be searched in them.
fn receiver() -> (String, mpsc::Receiver<Vec<u8>>) {
    let (address, received) = receiver_behind(|stream| stream);
    (format!("http://{address}"), received)
}

/// Like [`receiver`], with `open` to turn each connection into a stream.
fn receiver_behind<S: Read + Write>(
    open: impl Fn(TcpStream) -> S + Send + 'static,
) -> (SocketAddr, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(stream) = stream else { continue };
            let mut stream = open(stream);
            // An empty SETTINGS frame of HTTP/2.
            let _ = stream.write_all(&[0, 0, 0, 4, 0, 0, 0, 0, 0]);
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stream.read(&mut buffer) {
                let _ = sender.send(buffer[..count].to_vec());
            }
        }
    });
    (address, received)
}

fn holds(all: &[u8], part: &[u8]) -> bool {
    all.windows(part.len()).any(|window| window == part)
}

#[tokio::test]
async fn request_stages_are_spans_of_the_client_trace() {
    let (address, received) = receiver();
    let mut gateway = Gateway::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &address),
        ("LOG_LEVEL", "info,meshgate::access=debug"),
    ]);
    let answer = gateway
        .client
        .post(gateway.url("/convert?output_format=glb&filename=a.obj"))
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(TRIANGLE)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    for probe in ["/livez", "/readyz", "/health", "/metrics"] {
        let asked = gateway.client.get(gateway.url(probe)).header("x-request-id", "the-probe").send();
        assert_eq!(asked.await.unwrap().status(), 200);
        // The log line has the request ID without a trace, too.
        let line = gateway.wait_for(probe);
        assert!(line.contains("request_id=\"the-probe\"") && line.contains("answered"), "{line}");
    }
    // Remaining spans are sent at shutdown.
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.end().success());
    let mut all = Vec::new();
    while let Ok(part) = received.recv_timeout(Duration::from_secs(1)) {
        all.extend(part);
    }
    assert!(all.starts_with(b"PRI * HTTP/2.0"));
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert!(holds(&all, &trace), "the client's trace is not continued");
    assert!(holds(&all, &0xb7ad_6b71_6920_3331_u64.to_be_bytes()), "the client's span is not the parent");
    for name in ["request", "receive", "queue", "convert", "store", "meshgate", "/convert"] {
        // In protocol buffers, a string follows its length.
        let field = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        assert!(holds(&all, &field), "no {name}");
    }
    for probe in ["/livez", "/readyz", "/health", "/metrics"] {
        assert!(!holds(&all, probe.as_bytes()), "{probe} must not be traced");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_spans_of_a_job_continue_the_trace_of_its_request() {
    let (address, received) = receiver();
    let mut gateway = Gateway::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)]);
    let request = gateway
        .client
        .post(gateway.url("/v1/jobs?output_format=glb&filename=a.obj"))
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(TRIANGLE);
    let job: serde_json::Value = request.send().await.unwrap().json().await.unwrap();
    let path = job["links"]["self"].as_str().unwrap();
    gateway.until_says(path, "succeeded", |job| job["state"] == "succeeded").await;
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.end().success());
    let mut all = Vec::new();
    while let Ok(part) = received.recv_timeout(Duration::from_secs(1)) {
        all.extend(part);
    }
    // The span of the conversion, which the worker makes. Its name follows the IDs of trace, span and parent.
    let name = [&[0x2a_u8, 7], "convert".as_bytes()].concat();
    let place = all.windows(name.len()).position(|window| window == name).expect("the worker makes no span");
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    let ids = &all[place.saturating_sub(64)..place];
    assert!(holds(ids, &trace), "the trace of the request is not continued");
}

/// The bytes that a collector with its own certificate receives, from a gateway that trusts this one or another.
async fn sent_by_tls(trusted: bool) -> Vec<u8> {
    let sign = || rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    let (signed, other) = (sign(), sign());
    let key = rustls::pki_types::PrivateKeyDer::Pkcs8(signed.signing_key.serialize_der().into());
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.unwrap().with_no_client_auth();
    let mut config = config.with_single_cert(vec![signed.cert.der().clone()], key).unwrap();
    config.alpn_protocols = vec![b"h2".to_vec()];
    let config = Arc::new(config);
    let (address, received) = receiver_behind(move |stream| {
        rustls::StreamOwned::new(rustls::ServerConnection::new(Arc::clone(&config)).unwrap(), stream)
    });
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("trusted.pem");
    std::fs::write(&file, if trusted { signed.cert.pem() } else { other.cert.pem() }).unwrap();
    let mut gateway = Gateway::start_cold(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("https://{address}")),
        ("SSL_CERT_FILE", file.to_str().unwrap()),
    ]);
    assert_eq!(gateway.client.get(gateway.url("/v1/formats")).send().await.unwrap().status(), 200);
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.end().success());
    let mut all = Vec::new();
    while let Ok(part) = received.recv_timeout(Duration::from_secs(1)) {
        all.extend(part);
    }
    all
}

#[tokio::test]
async fn spans_are_sent_only_to_a_trusted_collector() {
    let all = sent_by_tls(true).await;
    assert!(all.starts_with(b"PRI * HTTP/2.0") && holds(&all, b"/v1/formats"));
    assert!(sent_by_tls(false).await.is_empty());
}

#[tokio::test]
async fn an_unreachable_collector_affects_no_request() {
    // Nobody listens there.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let mut gateway = Gateway::start(&[
        ("OTEL_EXPORTER_OTLP_ENDPOINT", &format!("http://{nowhere}")),
        ("OTEL_BSP_SCHEDULE_DELAY", "50"),
    ]);
    for _ in 0..3 {
        let answer = gateway.convert("output_format=glb", "a.obj", TRIANGLE.into()).await;
        assert_eq!(answer.status(), 200);
    }
    gateway.signal(rustix::process::Signal::TERM);
    let began = std::time::Instant::now();
    assert!(gateway.end().success());
    assert!(began.elapsed() < LONG / 4);
}
