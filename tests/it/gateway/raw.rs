//! Raw requests, byte by byte, which no client library would send, and their answers.

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};

use super::{Gateway, LONG};

/// A complete answer.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (each, value) = line.split_once(':')?;
            each.eq_ignore_ascii_case(name).then_some(value.trim())
        })
    }

    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    /// The body as a problem, after a check that it is one and reveals nothing of the server.
    pub fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        Problem::of(self.status, &self.body)
    }
}

/// A problem's status, code and sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem(pub u16, pub String, pub String);

impl Problem {
    /// Parses a problem, and checks that it reveals nothing of the server.
    pub fn of(status: u16, body: &[u8]) -> Problem {
        let text = String::from_utf8(body.to_vec()).unwrap();
        for inside in [
            "/tmp",
            "/home",
            "/root",
            "/usr",
            "/proc",
            "run-",
            "Traceback",
            "File \\\"",
            ".py",
            "bpy",
            "panicked",
            ".rs:",
        ] {
            assert!(!text.contains(inside), "{inside} in {text}");
        }
        let json: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(json["status"], status);
        assert_eq!(json["error"], json["detail"]);
        assert!(!json["request_id"].as_str().unwrap().is_empty());
        let word = |name: &str| json[name].as_str().unwrap().to_owned();
        assert!(text.len() < 2000, "{text}");
        Problem(status, word("code"), word("detail"))
    }
}

/// One connection.
pub struct Raw {
    pub stream: TcpStream,
    /// Bytes read beyond the latest answer.
    read: Vec<u8>,
}

impl Gateway {
    pub fn raw(&self) -> Raw {
        let stream = TcpStream::connect(self.address.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        Raw { stream, read: Vec::new() }
    }
}

impl Raw {
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(bytes.as_ref()).unwrap();
        self
    }

    /// Sends `head` and as much of the body as the server accepts, and reads meanwhile, as browsers do.
    pub fn send_while_reading(mut self, head: &str, body: Vec<u8>) -> Answer {
        let mut writer = self.stream.try_clone().unwrap();
        self.send(head);
        let writing = std::thread::spawn(move || {
            // The server may stop reading at any time.
            let _ = writer.write_all(&body);
        });
        let answer = self.answer().expect("an answer");
        let _ = self.stream.shutdown(Shutdown::Both);
        writing.join().unwrap();
        answer
    }

    /// Reads the next answer; `None` at the end of the connection.
    pub fn answer(&mut self) -> Option<Answer> {
        let end = loop {
            if let Some(at) = self.read.windows(4).position(|four| four == b"\r\n\r\n") {
                break at;
            }
            if !self.more() {
                assert!(self.read.is_empty(), "half an answer: {:?}", String::from_utf8_lossy(&self.read));
                return None;
            }
        };
        let head = String::from_utf8(self.read[..end].to_vec()).unwrap();
        self.read.drain(..end + 4);
        let mut answer = Answer { status: head[9..12].parse().unwrap(), head, body: Vec::new() };
        // Interim responses, such as 100, have no body.
        let length =
            if answer.status < 200 { 0 } else { answer.header("content-length").unwrap().parse().unwrap() };
        while self.read.len() < length {
            assert!(self.more(), "the body ends early: {}", answer.head);
        }
        answer.body = self.read.drain(..length).collect();
        Some(answer)
    }

    /// Whether the server closes the connection without further bytes.
    pub fn closes(&mut self) -> bool {
        self.answer().is_none()
    }

    /// Reads more bytes; returns whether there were any.
    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        let read = match self.stream.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        };
        self.read.extend_from_slice(&buffer[..read]);
        read > 0
    }
}

pub const GET_LIVE: &str = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";

/// The head of a conversion with a raw body.
pub fn head(query: &str, length: usize) -> String {
    format!("POST /convert?{query} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

/// Sends a `POST` to `path` with these header lines (each with its line end) and a body of known length.
pub fn post(gateway: &Gateway, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    gateway.raw().send_while_reading(&head, body.to_vec())
}

/// A multipart body of parts, each of header lines (without the last line end) and a content, between `--B`.
pub fn multipart<C: AsRef<[u8]>>(parts: &[(&str, C)]) -> Vec<u8> {
    let mut body = Vec::new();
    for (headers, content) in parts {
        body.extend_from_slice(format!("--B\r\n{headers}\r\n\r\n").as_bytes());
        body.extend_from_slice(content.as_ref());
        body.extend_from_slice(b"\r\n");
    }
    body.extend_from_slice(b"--B--\r\n");
    body
}

pub const MULTIPART: &str = "Content-Type: multipart/form-data; boundary=B\r\n";

/// The header of a file's part.
pub fn file(name: &str) -> String {
    format!("Content-Disposition: form-data; name=\"file\"; filename=\"{name}\"")
}
