//! The events of a job.

use serde_json::Value;

use super::{REPACK, SLOW, assert_problem, below, header, objects_of_jobs, path};
use crate::busy_engine::alive;
use crate::gateway::engine::motion;
use crate::gateway::receive::triangle;
use crate::gateway::{Gateway, LONG, until};

#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    /// `None` for the `end`.
    pub id: Option<u64>,
    pub name: String,
    pub data: Value,
}

/// Follows a job until the stream ends; `last` is the ID of the last event that is known.
pub async fn follow(gateway: &Gateway, job: &Value, last: Option<u64>) -> Vec<Event> {
    let request = gateway.client.get(gateway.url(job["links"]["events"].as_str().unwrap()));
    let request = match last {
        Some(id) => request.header("last-event-id", id.to_string()),
        None => request,
    };
    let answer = request.send().await.unwrap();
    assert_eq!(answer.status(), 200);
    for (name, value) in
        [("content-type", "text/event-stream"), ("cache-control", "no-store"), ("x-accel-buffering", "no")]
    {
        assert_eq!(header(&answer, name), value);
    }
    let text = tokio::time::timeout(LONG, answer.text()).await.expect("the stream ends").unwrap();
    text.split("\n\n").filter_map(parse).collect()
}

/// Parses an event; `None` for comments.
fn parse(block: &str) -> Option<Event> {
    let field = |name: &str| block.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
    let data = serde_json::from_str(field("data")?).unwrap();
    let id = field("id").map(|id| id.parse().unwrap());
    Some(Event { id, name: field("event")?.to_owned(), data })
}

/// Checks the order of the events of a job that has ended in this state.
pub fn check(events: &[Event], state: &str) {
    let [changes @ .., end] = events else { panic!("no events") };
    assert_eq!((end.name.as_str(), &end.data["state"]), ("end", &state.into()), "{events:#?}");
    assert_eq!(end.id, None);
    // `None` is less than any ID.
    assert!(changes[0].id.is_some() && changes.is_sorted_by(|one, next| one.id < next.id), "{events:#?}");
    for change in changes {
        let expected = if change.data["progress"].is_null() { "state" } else { "progress" };
        assert_eq!(change.name, expected, "{change:?}");
    }
    let last = changes.last().unwrap();
    assert_eq!(last.data["state"], state, "{events:#?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_job_is_followed_to_its_end() {
    let gateway = Gateway::start(&[]);
    let job = gateway.submit(SLOW, motion()).await;
    let events = follow(&gateway, &job, None).await;
    check(&events, "succeeded");
    let has = |name: &str, state: &str| {
        events.iter().any(|event| event.name == name && event.data["state"] == state)
    };
    assert!(has("state", "queued") && has("state", "running"), "{events:#?}");
    assert!(has("progress", "running"), "{events:#?}");
    let end = &events.last().unwrap().data;
    assert_eq!((&end["id"], path(end)), (&job["id"], path(&job)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stream_is_resumed() {
    let gateway = Gateway::start_cold(&[]);
    let job = gateway.submit(REPACK, triangle()).await;
    gateway.succeeded(&job).await;
    let all = follow(&gateway, &job, None).await;
    check(&all, "succeeded");
    assert!(all.len() >= 3, "{all:#?}");
    assert_eq!(all[0].data["state"], "queued");
    for (at, event) in all[..all.len() - 1].iter().enumerate() {
        assert_eq!(follow(&gateway, &job, event.id).await, all[at + 1..]);
    }
    // No event has such an ID yet.
    let last = all[all.len() - 2].id.unwrap();
    assert_eq!(follow(&gateway, &job, Some(last + 1000)).await, all);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_stream_of_a_removed_job_ends() {
    let gateway = Gateway::start(&[]);
    let job = gateway.submit(SLOW, motion()).await;
    let child = gateway.child().await;
    let stream = gateway.get(&below(&job, "events")).await;
    assert_eq!(stream.status(), 200);
    assert_eq!(gateway.delete(path(&job)).await.status(), 204);
    let text = tokio::time::timeout(LONG, stream.text()).await.expect("the stream ends").unwrap();
    assert!(!text.contains("event: end"), "{text}");
    until("the child is gone", || !alive(child));
    assert_problem(gateway.get(path(&job)).await, 404, "not_found").await;
    until("no object is left", || objects_of_jobs(gateway.folder.path()).is_empty());
}
