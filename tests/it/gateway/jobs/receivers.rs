//! The receivers of webhooks in docs/API.md.

use std::io::{BufRead, BufReader, Write as _};
use std::net::TcpListener;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use super::webhooks::deliveries;
use super::{REPACK, accepted, below, with_webhook};
use crate::busy_engine;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, until};

const SECRET: &str = "whsec_MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3";

/// A process that is killed when this is dropped.
struct Receiver(Child);

impl Drop for Receiver {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// The block of code below the comment with this name.
fn block(name: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/API.md");
    let document = std::fs::read_to_string(path).unwrap();
    let (_, rest) = document.split_once(&format!("<!-- {name} -->\n")).expect("the comment");
    let (_, code) = rest.split_once('\n').unwrap();
    code.split_once("```").unwrap().0.to_owned()
}

/// Runs a receiver of the document. It must accept the webhook of a real job, ignore its repetition, and refuse one that
/// is not signed.
async fn accepts_only_what_is_signed(name: &str, program: &Path) {
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join(name);
    std::fs::File::create(&script).unwrap().write_all(block(name).as_bytes()).unwrap();
    // The receiver cannot choose a free port itself.
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let mut command = Command::new(program);
    command.arg(script).env("WEBHOOK_SECRET", SECRET).env("PORT", port.to_string());
    let mut receiver = Receiver(command.stdout(Stdio::piped()).stderr(Stdio::null()).spawn().unwrap());
    let mut lines = BufReader::new(receiver.0.stdout.take().unwrap()).lines();
    until("it listens", || std::net::TcpStream::connect(("127.0.0.1", port)).is_ok());

    let here = format!("http://127.0.0.1:{port}/hook");
    let gateway = Gateway::start_cold(&[("WEBHOOK_SECRET", SECRET), ("WEBHOOK_ALLOW", "127.0.0.1")]);
    let forged = gateway.client.post(&here).header("webhook-id", "a").body("{}").send().await.unwrap();
    assert_eq!(forged.status(), 401);
    let query = with_webhook(REPACK, &here);
    let job = accepted(gateway.submission(&query, triangle()).send().await.unwrap()).await;
    let line = lines.next().expect("a line for the webhook").unwrap();
    assert!(line.ends_with(&format!("job.succeeded {}", job["id"].as_str().unwrap())), "{line}");

    deliveries(&gateway, &job, 1).await;
    accepted(gateway.post(&below(&job, "webhook/redeliver")).await).await;
    let again = lines.next().expect("a line for the repetition").unwrap();
    assert_eq!(again, format!("{} again: ignored", line.split(' ').next().unwrap()));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_receiver_in_python_accepts_only_what_is_signed() {
    accepts_only_what_is_signed("receiver.py", &busy_engine::engine()).await;
}

#[tokio::test(flavor = "multi_thread")]
#[ignore = "needs Node.js; make test runs it where that is installed"]
async fn the_receiver_in_node_accepts_only_what_is_signed() {
    accepts_only_what_is_signed("receiver.mjs", Path::new("node")).await;
}
