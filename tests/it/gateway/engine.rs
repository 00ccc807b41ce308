//! The engine of a gateway, seen from outside: its processes, stopped and killed at will.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::time::Instant;

use rustix::process::{Pid, Signal, kill_process};

use serde_json::Value;

use super::{Gateway, LONG, PAUSE};

/// A motion that takes the engine long enough to be met at work.
pub fn motion() -> Vec<u8> {
    let mut text = String::from(
        "HIERARCHY\nROOT hips\n{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n\
         JOINT chest\n{\nOFFSET 0 1 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nEnd Site\n{\nOFFSET 0 1 0\n}\n}\n}\n\
         MOTION\nFrames: 4000\nFrame Time: 0.03333\n",
    );
    for frame in 0..4000 {
        writeln!(text, "0 {} 0 {} 0 0 {} 0 0", frame % 7, frame % 90, frame % 45).unwrap();
    }
    text.into_bytes()
}

/// Every process with its parent; zombies are gone.
fn parents() -> HashMap<i32, i32> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name before it may hold anything.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next(), fields.next());
        if state != Some("Z") {
            parents.insert(pid, parent.unwrap().parse().unwrap());
        }
    }
    parents
}

fn children(of: &[i32]) -> Vec<i32> {
    parents().iter().filter(|(_, parent)| of.contains(parent)).map(|(pid, _)| *pid).collect()
}

pub fn is_alive(pid: i32) -> bool {
    parents().contains_key(&pid)
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
        children(&self.zygotes())
    }

    /// Waits for a child at work.
    pub async fn child(&self) -> i32 {
        let began = Instant::now();
        loop {
            if let Some(child) = self.converting().first() {
                return *child;
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
