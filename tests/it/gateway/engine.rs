//! Helpers that observe, stop and kill the engine's processes of a gateway.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use serde_json::Value;

use super::{Gateway, LONG, PAUSE};
use crate::busy_engine::{self, children, converting, sleeps};

/// A motion that is slow enough to be observed during its conversion.
pub fn motion() -> Vec<u8> {
    busy_engine::motion(4000).into_bytes()
}

pub fn send(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

impl Gateway {
    /// The zygotes.
    pub fn zygotes(&self) -> Vec<i32> {
        children(&[self.pid().cast_signed()])
    }

    /// The children that run conversions.
    pub fn converting(&self) -> Vec<i32> {
        converting(&self.zygotes())
    }

    /// The zygotes, and all processes below them.
    pub fn descendants(&self) -> Vec<i32> {
        let mut found = self.zygotes();
        let mut below = children(&found);
        while !below.is_empty() {
            found.extend(&below);
            below = children(&below);
        }
        found
    }

    /// Waits for a running child that the gateway knows of: its zygote is idle again.
    pub async fn child(&self) -> i32 {
        self.another_child(0).await
    }

    /// Waits for such a child that is not the process `other`.
    pub async fn another_child(&self, other: i32) -> i32 {
        let began = Instant::now();
        loop {
            for zygote in self.zygotes() {
                let child = converting(&[zygote]).into_iter().find(|child| *child != other && sleeps(zygote));
                if let Some(child) = child {
                    return child;
                }
            }
            assert!(began.elapsed() < LONG, "no conversion in a child");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stops the zygote of a running conversion, so that the conversion keeps its slot until [`Held`] is dropped.
    pub async fn hold(&self) -> Held {
        self.child().await;
        let zygotes = self.zygotes();
        for pid in &zygotes {
            send(*pid, Signal::STOP);
        }
        Held(zygotes)
    }

    /// `GET`, as JSON.
    pub async fn json(&self, path: &str) -> Value {
        self.client.get(self.url(path)).send().await.unwrap().json().await.unwrap()
    }

    /// Polls until the answer satisfies `so`; does not block the task.
    pub async fn until_says(&self, path: &str, what: &str, so: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !so(&self.json(path).await) {
            assert!(began.elapsed() < LONG, "never: {what}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until this many conversions are queued.
    pub async fn until_waiting(&self, number: u64) {
        self.until_says("/health", "the queue has this length", |health| {
            health["queue"]["waiting"] == number
        })
        .await;
    }

    /// Waits until a conversion is running.
    pub async fn until_busy(&self) {
        self.until_says("/health", "busy", |health| health["engine"]["busy"] != 0).await;
    }

    /// Waits until no conversion is running; a child exits shortly after its conversion is answered.
    pub async fn until_idle(&self) {
        self.until_says("/health", "idle", |health| health["engine"]["busy"] == 0).await;
    }
}

/// Stopped zygotes, which continue when this is dropped.
pub struct Held(Vec<i32>);

impl Drop for Held {
    fn drop(&mut self) {
        for pid in &self.0 {
            send(*pid, Signal::CONT);
        }
    }
}
