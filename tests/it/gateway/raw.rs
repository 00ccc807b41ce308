//! Requests byte by byte, as no client library would write them, and what comes back.

use std::io::{ErrorKind, Read, Write};
use std::net::TcpStream;

use super::{Gateway, LONG};

/// An answer, read to its end.
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

    /// The body as a problem: checked to be one, and to tell nothing of the server.
    pub fn problem(&self) -> Problem {
        assert_eq!(self.header("content-type"), Some("application/problem+json"), "{}", self.head);
        Problem::of(self.status, &self.body)
    }
}

/// A problem's status, code and sentence.
#[derive(Debug, PartialEq, Eq)]
pub struct Problem(pub u16, pub String, pub String);

impl Problem {
    /// Reads a problem, and makes sure that nothing of the server's inside is in it.
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
pub struct Connection(pub TcpStream);

impl Connection {
    pub fn to(gateway: &Gateway) -> Connection {
        let stream = TcpStream::connect(gateway.address.strip_prefix("http://").unwrap()).unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        stream.set_write_timeout(Some(LONG)).unwrap();
        Connection(stream)
    }

    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.0.write_all(bytes.as_ref()).unwrap();
    }

    /// Sends `head` and then as much of the body as the other side takes, reading meanwhile as browsers do.
    pub fn send_while_reading(mut self, head: &str, body: Vec<u8>) -> Answer {
        let mut writer = self.0.try_clone().unwrap();
        self.send(head);
        let writing = std::thread::spawn(move || {
            // The other side may have enough at any time.
            let _ = writer.write_all(&body);
        });
        let answer = self.answer();
        let _ = self.0.shutdown(std::net::Shutdown::Both);
        writing.join().unwrap();
        answer
    }

    /// Reads one line, byte by byte so that nothing behind it is lost.
    fn line(&mut self) -> String {
        let mut line = Vec::new();
        while !line.ends_with(b"\r\n") {
            let mut byte = [0];
            match self.0.read(&mut byte) {
                Ok(1) => line.push(byte[0]),
                Ok(_) => panic!("the connection ended after {:?}", String::from_utf8_lossy(&line)),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => panic!("{error} after {:?}", String::from_utf8_lossy(&line)),
            }
        }
        String::from_utf8(line).unwrap()
    }

    /// The status line and headers.
    pub fn head(&mut self) -> (u16, String) {
        let mut head = self.line();
        while !head.ends_with("\r\n\r\n") {
            head.push_str(&self.line());
        }
        (head.split(' ').nth(1).unwrap().parse().unwrap(), head)
    }

    /// The next answer, whose length is known by its header.
    pub fn answer(&mut self) -> Answer {
        let (status, head) = self.head();
        let mut answer = Answer { status, head, body: Vec::new() };
        let length: usize = answer.header("content-length").unwrap().parse().unwrap();
        answer.body.resize(length, 0);
        self.0.read_exact(&mut answer.body).unwrap();
        answer
    }
}

/// `POST` to `path` with these header lines (each with its line end) and a body of known length.
pub fn post(gateway: &Gateway, path: &str, headers: &str, body: impl AsRef<[u8]>) -> Answer {
    let body = body.as_ref();
    let head = format!("POST {path} HTTP/1.1\r\nHost: x\r\n{headers}Content-Length: {}\r\n\r\n", body.len());
    Connection::to(gateway).send_while_reading(&head, body.to_vec())
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
