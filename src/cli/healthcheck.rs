//! `meshgate healthcheck`: asks the server on this machine whether it is ready. For containers, which have no `curl`.

use std::io::{self, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use super::failure::{FAILED, Failure};
use super::output::say;
use crate::config::{Reader, Sources, settings};

/// Longest wait for the server's answer. Probes never block, so this is ample.
const PATIENCE: Duration = Duration::from_secs(5);
/// Most bytes read of an answer; probes send fewer.
const LARGEST: u64 = 64 << 10;

/// Ask the server on this machine whether it is ready: exit code 0 or 1, and a line that says why
#[derive(Debug, clap::Args)]
pub struct Args {
    /// Ask only /livez
    #[arg(long)]
    live: bool,

    /// The file of settings that the server was started with
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
}

/// Sends the probe and prints the answer.
///
/// # Errors
/// Wrong settings, or a server that does not answer.
pub fn run(args: &Args) -> Result<ExitCode, Failure> {
    let mut sources = Sources::environment();
    if let Some(file) = &args.config {
        sources.add_file(file);
    }
    let mut reader = Reader::new(&sources);
    let address = reader.read(&settings::BIND_ADDRESS);
    let address = reachable(reader.finish(address)?);
    let path = if args.live { "/livez" } else { "/readyz" };
    let answer = ask(address, path).map_err(Failure::io(format!("ask {address}{path}")))?;
    let (status, body) = parts(&answer);
    say(format!("{path}: {status} {body}"))?;
    Ok(if status == "200" { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

/// The address to connect to: a server that listens on all addresses is reached on localhost.
fn reachable(mut address: SocketAddr) -> SocketAddr {
    if address.ip().is_unspecified() {
        let is_v4 = address.is_ipv4();
        address.set_ip(if is_v4 { Ipv4Addr::LOCALHOST.into() } else { Ipv6Addr::LOCALHOST.into() });
    }
    address
}

fn ask(address: SocketAddr, path: &str) -> io::Result<String> {
    let mut stream = TcpStream::connect_timeout(&address, PATIENCE)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(LARGEST).read_to_end(&mut answer)?;
    Ok(String::from_utf8_lossy(&answer).into_owned())
}

/// The status and the first body line of an answer; "no HTTP" and nothing if it is not HTTP.
fn parts(answer: &str) -> (&str, &str) {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|rest| rest.get(..3)).unwrap_or("no HTTP");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.lines().next().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wildcard_addresses_are_reached_by_loopback() {
        for (bound, asked) in [
            ("0.0.0.0:5000", "127.0.0.1:5000"),
            ("[::]:80", "[::1]:80"),
            ("192.168.1.7:5000", "192.168.1.7:5000"),
        ] {
            assert_eq!(reachable(bound.parse().unwrap()).to_string(), asked);
        }
    }

    #[test]
    fn a_response_is_shown_as_status_and_one_line() {
        let answer = "HTTP/1.1 503 Service Unavailable\r\nx: y\r\n\r\n{\"status\":\"unavailable\"}\nmore";
        assert_eq!(parts(answer), ("503", "{\"status\":\"unavailable\"}"));
        assert_eq!(parts("SSH-2.0"), ("no HTTP", ""));
        assert_eq!(parts("HTTP/1.1 2"), ("no HTTP", ""));
    }
}
