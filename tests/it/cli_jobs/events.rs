//! Streams of events that break off, say nothing, or do not get through.

use std::time::Instant;

use rustix::process::Signal;

use super::scripted::{Answer, Scripted, answer_json, head, response};
use super::{Desk, ID, Ran, job};
use crate::gateway::{LONG, PAUSE};

const STREAM: &str = "content-type: text/event-stream\r\n";

/// A part of a stream.
fn stream(events: &str) -> Answer {
    Answer::Send([head(200, STREAM).as_slice(), events.as_bytes()].concat())
}

/// The answer for the job: running until it was asked for `times` times.
fn state(asked: usize, times: usize) -> Answer {
    if asked < times {
        answer_json(200, "etag: W/\"7\"\r\n", &job("running"))
    } else {
        answer_json(200, "etag: W/\"9\"\r\n", &job("succeeded"))
    }
}

fn watch(server: &Scripted) -> Ran {
    Desk::new().run(&server.address, &format!("watch {ID} --json"))
}

#[test]
fn a_stream_is_resumed_after_the_last_event() {
    let server = Scripted::start(|request, before| match (request.line.ends_with("/events"), before) {
        (true, 0) => stream(
            "id: 3\nevent: progress\ndata: {\"state\":\"running\"}\n\nid: 4\nevent: new\ndata: x\n\nid: 5",
        ),
        (true, _) => stream(": hello\r\n\r\nevent: end\r\ndata: {}\r\n\r\n"),
        (false, before) => state(before, 2),
    });
    let ran = watch(&server).succeeded();
    assert_eq!(ran.out, format!("{}\n", job("succeeded")));
    let last: Vec<_> = server
        .requests_to("/events")
        .iter()
        .map(|request| request.header("last-event-id").to_owned())
        .collect();
    assert_eq!(last, ["", "4"]);
    // Nothing was held: the events said when to ask.
    assert!(server.requests_to(ID).iter().all(|request| request.header("prefer").is_empty()));
}

#[test]
fn a_job_is_asked_for_where_no_stream_gets_through() {
    // A page of a proxy, and an error of one.
    for (status, media_type) in [(200, "content-type: text/html\r\n"), (406, "")] {
        let server = Scripted::start(move |request, before| {
            if request.line.ends_with("/events") {
                return response(status, media_type, "<html>");
            }
            match before {
                0 => state(0, 1),
                1 => response(304, "etag: W/\"7\"\r\npreference-applied: wait=30\r\n", ""),
                _ => state(1, 1),
            }
        });
        watch(&server).succeeded();
        assert_eq!(server.requests_to("/events").len(), 1);
        let asked = server.requests_to(ID);
        assert_eq!(asked[0].header("prefer"), "");
        for request in &asked[1..] {
            assert_eq!((request.header("prefer"), request.header("if-none-match")), ("wait=30", "W/\"7\""));
        }
        assert_eq!(asked.len(), 3);
    }
}

#[test]
fn streams_that_bring_nothing_are_given_up() {
    let server = Scripted::start(|request, before| {
        if request.line.ends_with("/events") {
            return if before == 1 { Answer::Cut } else { stream(": keep-alive\n\n") };
        }
        state(before, 5)
    });
    watch(&server).succeeded();
    assert_eq!(server.requests_to("/events").len(), 3);
    let held = server.requests_to(ID).iter().filter(|request| request.header("prefer") == "wait=30").count();
    assert_eq!(held, 3);
}

#[test]
fn a_job_that_is_gone_ends_the_watch() {
    let server = Scripted::start(|request, before| match (request.line.ends_with("/events"), before) {
        (true, _) => stream(""),
        (false, 0) => state(0, 1),
        (false, _) => {
            answer_json(410, "", r#"{"code":"expired","detail":"the job with this ID has expired"}"#)
        }
    });
    watch(&server).failed(&["the job with this ID has expired (expired)"]);
}

#[test]
fn a_server_whose_jobs_are_away_is_waited_for() {
    let away = r#"{"code":"jobs_unavailable","detail":"the jobs cannot be reached"}"#;
    let server = Scripted::start(move |request, before| match (request.line.ends_with("/events"), before) {
        (true, _) => stream(""),
        (false, 0) => answer_json(503, "retry-after: 1\r\n", away),
        (false, _) => answer_json(200, "", &job("succeeded")),
    });
    let ran = watch(&server).succeeded();
    assert_eq!(ran.out, format!("{}\n", job("succeeded")));
    let server = Scripted::start(move |request, before| match (request.line.contains(ID), before) {
        (_, 0) => answer_json(503, "", away),
        (true, _) => answer_json(200, "", &job("running")),
        (false, _) => answer_json(200, "", r#"{"jobs":[]}"#),
    });
    for words in ["list --json".to_owned(), format!("get {ID} --json")] {
        let ran = Desk::new().run(&server.address, &words).succeeded();
        let said = ran.said();
        let away = "the server cannot reach its jobs (jobs_unavailable); trying for two minutes";
        assert_eq!(said, [away], "{ran:?}");
    }
}

#[test]
fn a_watch_says_why_a_job_is_queued_again() {
    let server = Scripted::start(|request, before| match (request.line.ends_with("/events"), before) {
        (true, _) => {
            let event = |id: u8, attempt: u8, reason: &str| {
                format!(
                    "id: {id}\nevent: state\ndata: {{\"state\":\"queued\",\"attempt\":{attempt},\"reason\":\"{reason}\"}}\n\n"
                )
            };
            let events = [
                event(1, 1, "worker_lost"),
                event(2, 2, "worker_lost"),
                // Given back twice without an attempt.
                event(3, 2, "store_unavailable"),
                event(4, 2, "store_unavailable"),
                // Only newer servers have it.
                event(5, 2, "boredom"),
            ];
            stream(&events.concat())
        }
        (false, before) => state(before, 1),
    });
    let ran = watch(&server).succeeded();
    let lost = format!("{ID}: its worker was lost; queued again");
    assert_eq!(ran.said(), [&lost, &lost, &format!("{ID}: the worker cannot read the store; waits")]);
}

#[test]
fn an_interrupted_watch_leaves_the_job_alone() {
    let server = Scripted::start(|request, _| {
        if request.line.ends_with("/events") { Answer::Hold(head(200, STREAM)) } else { state(0, 1) }
    });
    for signal in [Signal::INT, Signal::TERM] {
        let before = server.requests_to("/events").len();
        let desk = Desk::new();
        let watching = desk.start(&server.address, &format!("watch {ID}"));
        let began = Instant::now();
        while server.requests_to("/events").len() == before {
            assert!(began.elapsed() < LONG, "it does not follow the job");
            std::thread::sleep(PAUSE);
        }
        rustix::process::kill_process(rustix::process::Pid::from_child(&watching), signal).unwrap();
        let ran = Ran::of(&watching.wait_with_output().unwrap());
        assert_eq!((ran.code, ran.out.as_str()), (Some(130), ""), "{ran:?}");
        assert_eq!(ran.said(), ["interrupted; jobs that were submitted go on"]);
    }
    assert!(server.requests().iter().all(|request| request.line.starts_with("GET ")));
}
