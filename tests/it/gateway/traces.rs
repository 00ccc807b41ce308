//! Traces, as a collector gets them.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::mpsc;
use std::time::Duration;

use super::{Gateway, LONG, TRIANGLE};

/// What gRPC's other end gets. Protocol buffers are not compressed: names and numbers stand in them as they are.
fn receiver() -> (String, mpsc::Receiver<Vec<u8>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = format!("http://{}", listener.local_addr().unwrap());
    let (sender, received) = mpsc::channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { continue };
            // HTTP/2: settings, none of them.
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
async fn the_parts_of_a_request_are_spans_of_the_clients_trace() {
    let (address, received) = receiver();
    let mut gateway = Gateway::start(&[("OTEL_EXPORTER_OTLP_ENDPOINT", &address)]);
    let answer = gateway
        .client
        .post(gateway.url("/convert?output_format=glb&filename=a.obj"))
        .header("traceparent", "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01")
        .body(TRIANGLE)
        .send()
        .await
        .unwrap();
    assert_eq!(answer.status(), 200);
    // What is not sent yet is sent at the stop.
    gateway.signal(rustix::process::Signal::TERM);
    assert!(gateway.end().success());
    let mut all = Vec::new();
    while let Ok(part) = received.recv_timeout(Duration::from_secs(1)) {
        all.extend(part);
    }
    assert!(all.starts_with(b"PRI * HTTP/2.0"));
    let trace = 0x0af7_6519_16cd_43dd_8448_eb21_1c80_319c_u128.to_be_bytes();
    assert!(holds(&all, &trace), "the client's trace is not continued");
    assert!(holds(&all, &0xb7ad_6b71_6920_3331_u64.to_be_bytes()), "the client's span is no parent");
    for name in ["request", "receive", "queue", "convert", "store", "meshgate", "/convert"] {
        // A string's field: its length is before it.
        let field = [&[u8::try_from(name.len()).unwrap()], name.as_bytes()].concat();
        assert!(holds(&all, &field), "no {name}");
    }
}

#[tokio::test]
async fn a_collector_that_is_away_hurts_no_request() {
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
