//! Downloads that break off, are damaged, or have harmful names.

use std::time::Instant;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use rustix::process::Signal;

use super::scripted::{Answer, Scripted, head, response};
use super::{Desk, ID, Ran};
use crate::gateway::{LONG, PAUSE};

const CONTENT: &[u8] = b"0123456789";

/// The headers of a result with this name, except its length.
fn headers(name: &str) -> String {
    let digest = STANDARD.encode(digest(&SHA256, CONTENT));
    format!(
        "content-disposition: attachment; filename=\"{name}\"\r\netag: \"tag\"\r\nrepr-digest: sha-256=:{digest}:\r\n"
    )
}

/// A result that breaks off after this many bytes.
fn cut_off(after: usize) -> Answer {
    let head = head(200, &format!("{}content-length: {}\r\n", headers("a.glb"), CONTENT.len()));
    Answer::Send([head.as_slice(), &CONTENT[..after]].concat())
}

/// The rest of a result.
fn rest(from: usize, upto: usize) -> Answer {
    let range = format!("content-range: bytes {from}-{}/{}\r\n", CONTENT.len() - 1, CONTENT.len());
    let length = format!("content-length: {}\r\n", CONTENT.len() - from);
    let head = head(206, &format!("{}{range}{length}", headers("a.glb")));
    Answer::Send([head.as_slice(), &CONTENT[from..upto]].concat())
}

#[test]
fn a_download_is_continued_where_it_broke_off() {
    let server = Scripted::start(|_, before| match before {
        0 => cut_off(4),
        1 => rest(4, 7),
        2 => Answer::Cut,
        _ => rest(7, 10),
    });
    let desk = Desk::new();
    let ran = desk.run(&server.address, &format!("get {ID}")).succeeded();
    assert_eq!(ran.out, "a.glb  10 bytes\n");
    assert_eq!(desk.read("a.glb"), CONTENT);
    let requests = server.requests_to("/result");
    let ranges: Vec<_> = requests.iter().map(|request| request.header("range")).collect();
    assert_eq!(ranges, ["", "bytes=4-", "bytes=7-", "bytes=7-"]);
    assert!(requests[1..].iter().all(|request| request.header("if-range") == "\"tag\""));
    assert!(requests.iter().all(|request| request.header("want-repr-digest") == "sha-256=1"));
}

#[test]
fn a_server_without_ranges_sends_everything_again() {
    let server = Scripted::start(|_, before| match before {
        0 => cut_off(6),
        _ => response(200, &headers("a.glb"), CONTENT),
    });
    let desk = Desk::new();
    desk.run(&server.address, &format!("get {ID} -o b.glb")).succeeded();
    assert_eq!(desk.read("b.glb"), CONTENT);
}

#[test]
fn a_damaged_file_is_not_kept() {
    let answers: [fn() -> Answer; 3] = [
        || response(200, &headers("a.glb"), "9876543210"),
        // Another part than the one that is missing.
        || rest(4, 10),
        || response(200, "content-digest: sha-256=:AA==:\r\n", CONTENT),
    ];
    for answer in answers {
        let server = Scripted::start(move |_, _| answer());
        let desk = Desk::new();
        let ran = desk.run(&server.address, &format!("get {ID}"));
        assert_eq!((ran.code, desk.names()), (Some(1), Vec::new()), "{ran:?}");
    }
}

#[test]
fn a_name_from_the_server_cannot_leave_the_folder() {
    for (name, written) in [("../../evil.glb", "evil.glb"), (".bashrc", "bashrc"), ("..", "unnamed")] {
        let server = Scripted::start(move |_, _| response(200, &headers(name), CONTENT));
        let desk = Desk::new();
        desk.run(&server.address, &format!("get {ID}")).succeeded();
        assert_eq!(desk.names(), [written]);
    }
    // Without a name, it is called like its job.
    let server = Scripted::start(|_, _| response(200, "", CONTENT));
    let desk = Desk::new();
    desk.run(&server.address, &format!("get {ID}")).succeeded();
    assert_eq!(desk.names(), [ID]);
}

#[test]
fn the_key_stays_at_the_server_when_the_result_is_elsewhere() {
    let bucket = Scripted::start(|_, _| response(200, &headers("a.glb"), CONTENT));
    let location = format!("location: {}/object?signature=1\r\n", bucket.address);
    let server = Scripted::start(move |_, _| response(303, &location, ""));
    let desk = Desk::new();
    let mut command = desk.command(&server.address, &format!("get {ID}"));
    command.env("MESHGATE_API_KEY", "aaaaaaaaaaaaaaaa");
    Ran::end_of(command).succeeded();
    assert_eq!(desk.read("a.glb"), CONTENT);
    assert_eq!(server.requests()[0].header("authorization"), "Bearer aaaaaaaaaaaaaaaa");
    let [request] = &bucket.requests()[..] else { panic!("{:?}", bucket.requests()) };
    assert_eq!((request.header("authorization"), request.header("referer")), ("", ""));
}

#[test]
fn an_interrupted_download_leaves_no_file() {
    let server = Scripted::start(|_, _| {
        let head = head(200, &format!("{}content-length: {}\r\n", headers("a.glb"), CONTENT.len()));
        Answer::Hold([head.as_slice(), &CONTENT[..4]].concat())
    });
    let desk = Desk::new();
    let getting = desk.start(&server.address, &format!("get {ID}"));
    let began = Instant::now();
    while !desk.names().iter().any(|name| desk.path(name).metadata().is_ok_and(|file| file.len() == 4)) {
        assert!(began.elapsed() < LONG, "nothing is written");
        std::thread::sleep(PAUSE);
    }
    rustix::process::kill_process(rustix::process::Pid::from_child(&getting), Signal::INT).unwrap();
    let ran = Ran::of(&getting.wait_with_output().unwrap());
    assert_eq!((ran.code, desk.names()), (Some(130), Vec::new()), "{ran:?}");
}
