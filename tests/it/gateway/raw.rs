//! HTTP by hand, for what no client does.

use std::io::{Read, Write};
use std::net::TcpStream;

use super::{Gateway, LONG};

/// One answer, apart.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Answer {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{self:?}"))
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(": ")?;
            key.eq_ignore_ascii_case(name).then_some(value)
        })
    }
}

pub struct Raw {
    pub stream: TcpStream,
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
    pub fn send(&mut self, text: impl AsRef<[u8]>) -> &mut Self {
        self.stream.write_all(text.as_ref()).unwrap();
        self
    }

    /// The next answer; `None` at the end of the connection.
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
        let length = answer.header("content-length").map_or(0, |length| length.parse().unwrap());
        while self.read.len() < length {
            assert!(self.more(), "the body ends early: {}", answer.head);
        }
        answer.body = self.read.drain(..length).collect();
        Some(answer)
    }

    /// Whether the other side closes the connection, with nothing more to say.
    pub fn closes(&mut self) -> bool {
        self.answer().is_none()
    }

    fn more(&mut self) -> bool {
        let mut buffer = [0; 16 << 10];
        let read = match self.stream.read(&mut buffer) {
            Ok(read) => read,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => 0,
            Err(error) => panic!("{error}"),
        };
        self.read.extend_from_slice(&buffer[..read]);
        read > 0
    }
}

/// The head of a conversion with a raw body.
pub fn head(query: &str, length: usize) -> String {
    format!("POST /convert?{query} HTTP/1.1\r\nhost: a\r\ncontent-length: {length}\r\n\r\n")
}

pub const GET_LIVE: &str = "GET /livez HTTP/1.1\r\nhost: a\r\n\r\n";
