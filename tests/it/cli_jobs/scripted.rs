//! An HTTP server that answers as a test says, byte by byte.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

/// A request.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET /path`
    pub line: String,
    head: String,
    pub body: Vec<u8>,
}

/// What to do with a request.
pub enum Answer {
    /// Reads its body, answers, and closes the connection.
    Send(Vec<u8>),
    /// Closes the connection at once.
    Cut,
    /// Sends this, then nothing more until the client hangs up.
    Hold(Vec<u8>),
}

pub struct Scripted {
    /// `http://127.0.0.1:PORT`
    pub address: String,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Scripted {
    /// Starts it on a free port. `answer` gets each request, and how many with the same line were before it.
    pub fn start(answer: impl Fn(&Request, usize) -> Answer + Send + Sync + 'static) -> Scripted {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = format!("http://{}", listener.local_addr().unwrap());
        let (requests, answer) = (Arc::new(Mutex::new(Vec::new())), Arc::new(answer));
        let seen = Arc::clone(&requests);
        // The threads end with the tests' process.
        thread::spawn(move || {
            for client in listener.incoming().map_while(Result::ok) {
                let (seen, answer) = (Arc::clone(&seen), Arc::clone(&answer));
                thread::spawn(move || respond(client, &seen, &*answer));
            }
        });
        Scripted { address, requests }
    }

    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// The requests whose line ends so, in their order.
    pub fn requests_to(&self, end: &str) -> Vec<Request> {
        self.requests().into_iter().filter(|request| request.line.ends_with(end)).collect()
    }
}

impl Request {
    /// A header; empty if it is absent.
    pub fn header(&self, name: &str) -> &str {
        let header = self.head.lines().find_map(|line| {
            let (each, value) = line.split_once(':')?;
            each.eq_ignore_ascii_case(name).then_some(value.trim())
        });
        header.unwrap_or_default()
    }
}

/// A response with a status, header lines (each with its line end) and a body.
pub fn response(status: u16, headers: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let length = format!("content-length: {}\r\n", body.len());
    Answer::Send([head(status, &format!("{headers}{length}")).as_slice(), body].concat())
}

/// The head of a response.
pub fn head(status: u16, headers: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\nconnection: close\r\n{headers}\r\n").into_bytes()
}

/// A response with JSON.
pub fn answer_json(status: u16, headers: &str, body: &str) -> Answer {
    response(status, &format!("content-type: application/json\r\n{headers}"), body)
}

fn respond(
    mut client: TcpStream,
    seen: &Mutex<Vec<Request>>,
    answer: &(impl Fn(&Request, usize) -> Answer + ?Sized),
) {
    let Some(mut request) = read_head(&mut client) else { return };
    let before = || seen.lock().unwrap().iter().filter(|each| each.line == request.line).count();
    let answer = answer(&request, before());
    if !matches!(answer, Answer::Cut) {
        read_body(&mut client, &mut request);
    }
    seen.lock().unwrap().push(request);
    match answer {
        Answer::Cut => {}
        Answer::Send(bytes) => {
            let _ = client.write_all(&bytes);
        }
        Answer::Hold(bytes) => {
            let _ = client.write_all(&bytes);
            let _ = std::io::copy(&mut client, &mut std::io::sink());
        }
    }
}

/// Reads a head; the beginning of the body may come with it.
fn read_head(client: &mut TcpStream) -> Option<Request> {
    let mut read = Vec::new();
    let end = loop {
        if let Some(end) = read.windows(4).position(|four| four == b"\r\n\r\n") {
            break end;
        }
        let mut buffer = [0; 16 << 10];
        let length = client.read(&mut buffer).ok().filter(|length| *length > 0)?;
        read.extend_from_slice(&buffer[..length]);
    };
    let head = String::from_utf8(read[..end].to_vec()).unwrap();
    let line = head.lines().next().unwrap().strip_suffix(" HTTP/1.1").unwrap().to_owned();
    Some(Request { line, head, body: read[end + 4..].to_vec() })
}

fn read_body(client: &mut TcpStream, request: &mut Request) {
    let length = request.header("content-length").parse().unwrap_or(0);
    let rest = length - request.body.len() as u64;
    client.take(rest).read_to_end(&mut request.body).unwrap();
}
