//! A receiver of webhooks: an HTTP server on a free port, by hand, so that it can also misbehave.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::task::AbortOnDropHandle;

/// How to respond to a request.
#[derive(Debug, Clone)]
pub enum Reply {
    /// With this status, headers and an empty body.
    Status(u16, &'static str),
    /// With 200 and a body of this many bytes.
    Large(usize),
    Never,
}

/// A request.
#[derive(Debug, Clone)]
pub struct Received {
    pub head: String,
    pub body: String,
}

pub struct Receiver {
    pub address: SocketAddr,
    shared: Arc<Shared>,
    _task: AbortOnDropHandle<()>,
}

#[derive(Default)]
struct Shared {
    requests: Mutex<Vec<Received>>,
    /// Bytes of bodies that the other side has taken, or the system for it.
    sent: AtomicUsize,
}

impl Received {
    pub fn header(&self, name: &str) -> &str {
        let values = self.head.lines().filter_map(|line| {
            let (each, value) = line.split_once(':')?;
            each.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        let values: Vec<_> = values.collect();
        let [value] = values[..] else { panic!("{name}: {values:?}") };
        value
    }
}

impl Receiver {
    /// Starts it on a loopback address. The first request gets the first reply, and all after the last get the last one.
    pub async fn start(replies: &[Reply]) -> Receiver {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, replies) = (listener.local_addr().unwrap(), replies.to_vec());
        let shared = Arc::new(Shared::default());
        let counting = Arc::clone(&shared);
        let task = tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                tokio::spawn(respond(stream, replies.clone(), Arc::clone(&counting)));
            }
        });
        Receiver { address, shared, _task: AbortOnDropHandle::new(task) }
    }

    /// The URL with this host, which is to lead here.
    pub fn url(&self, host: &str) -> String {
        format!("http://{host}:{}/hook?token=1", self.address.port())
    }

    pub fn received(&self) -> Vec<Received> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Forgets the requests so far.
    pub fn forget(&self) {
        self.shared.requests.lock().unwrap().clear();
    }

    pub fn sent(&self) -> usize {
        self.shared.sent.load(Ordering::Relaxed)
    }
}

/// Reads one request and responds. A client that sends no request is ignored.
async fn respond(mut stream: TcpStream, replies: Vec<Reply>, shared: Arc<Shared>) {
    let Some(request) = read(&mut stream).await else { return };
    let number = {
        let mut requests = shared.requests.lock().unwrap();
        requests.push(request);
        requests.len()
    };
    match &replies[number.min(replies.len()) - 1] {
        Reply::Status(status, headers) => {
            let head = format!("HTTP/1.1 {status} Reason\r\n{headers}Content-Length: 0\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
        }
        Reply::Large(length) => {
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n");
            let _ = stream.write_all(head.as_bytes()).await;
            let chunk = vec![b'a'; 64 << 10];
            while shared.sent.load(Ordering::Relaxed) < *length {
                match stream.write(&chunk).await {
                    Ok(bytes) => shared.sent.fetch_add(bytes, Ordering::Relaxed),
                    Err(_) => return,
                };
            }
        }
        Reply::Never => {
            // Until the other side hangs up.
            let _ = stream.read(&mut [0]).await;
        }
    }
}

/// Reads one request; `None` if the bytes are no request, or too few.
async fn read(stream: &mut TcpStream) -> Option<Received> {
    let mut bytes = Vec::new();
    loop {
        if stream.read_buf(&mut bytes).await.ok()? == 0 {
            return None;
        }
        let Some((head, body)) = std::str::from_utf8(&bytes).ok()?.split_once("\r\n\r\n") else { continue };
        let request = Received { head: head.to_owned(), body: body.to_owned() };
        if request.body.len() == request.header("content-length").parse::<usize>().ok()? {
            return Some(request);
        }
    }
}
