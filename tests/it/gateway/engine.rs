//! The engine of a gateway, seen from outside: its processes, stopped and killed at will.

use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use serde_json::Value;

use super::{Gateway, LONG, PAUSE};
use crate::at_work::{self, children, converting, sleeps};

/// A motion that takes the engine long enough to be met at work.
pub fn motion() -> Vec<u8> {
    at_work::motion(4000).into_bytes()
}

pub fn send(pid: i32, signal: Signal) {
    let _ = kill_process(Pid::from_raw(pid).unwrap(), signal);
}

impl Gateway {
    /// The zygotes.
    pub fn zygotes(&self) -> Vec<i32> {
        children(&[self.pid().cast_signed()])
    }

    /// The children in which conversions run.
    pub fn converting(&self) -> Vec<i32> {
        converting(&self.zygotes())
    }

    /// Waits for a child at work of which the gateway has been told: its zygote sleeps again.
    pub async fn child(&self) -> i32 {
        let began = Instant::now();
        loop {
            for zygote in self.zygotes() {
                if let Some(child) = converting(&[zygote]).first().filter(|_| sleeps(zygote)) {
                    return *child;
                }
            }
            assert!(began.elapsed() < LONG, "no conversion in a child");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Stops the zygote of a conversion at work, so that its end is not noticed: it keeps its slot, until this is dropped.
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

    /// Asks again and again, for as long as things may take, without holding up what the task does besides.
    pub async fn until_says(&self, path: &str, what: &str, so: impl Fn(&Value) -> bool) {
        let began = Instant::now();
        while !so(&self.json(path).await) {
            assert!(began.elapsed() < LONG, "never: {what}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    /// Waits until so many conversions wait for a slot.
    pub async fn until_waiting(&self, number: u64) {
        self.until_says("/health", "so many wait", |health| health["queue"]["waiting"] == number).await;
    }

    /// Waits until a conversion is at work.
    pub async fn until_busy(&self) {
        self.until_says("/health", "busy", |health| health["engine"]["busy"] != 0).await;
    }

    /// Waits until no conversion is at work: a child is still there for a moment after its conversion was answered.
    pub async fn until_idle(&self) {
        self.until_says("/health", "idle", |health| health["engine"]["busy"] == 0).await;
    }
}

/// Zygotes that were stopped; they go on when this is dropped.
pub struct Held(Vec<i32>);

impl Drop for Held {
    fn drop(&mut self) {
        for pid in &self.0 {
            send(*pid, Signal::CONT);
        }
    }
}
