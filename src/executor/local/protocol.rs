//! The messages between the supervisor and a zygote.
//!
//! Both ends share one Unix stream socket, which the zygote finds as its standard input. A frame is a
//! big-endian `u32` length followed by that many bytes of JSON, an object with a `type`. The other side of this
//! file is `blender/meshgate_engine/runtime/protocol.py`; `blender/tests/protocol.json` holds one example of each
//! message, and the tests of both sides read it.
//!
//! ```text
//! supervisor                                   zygote
//!     │  hello ─────────────────────────────────▶ │  imports bpy, prepares the sandbox
//!     │ ◀───────────────────────────────── ready  │  (or `broken`: why it cannot serve)
//!     │  convert {id} ──────────────────────────▶ │  forks
//!     │ ◀─────────────────────────── started {id} │
//!     │ ◀────────────────────────── progress {id} │  any number
//!     │  cancel {id} ───────────────────────────▶ │  at any time; kills the child's session
//!     │ ◀────────────────────────── finished {id} │  at most one, when the child has written its report
//!     │ ◀──────────────────────────── exited {id} │  exactly one per convert
//!     │  (end of stream) ───────────────────────▶ │  kills its children and exits
//! ```
//!
//! The child itself never holds this socket: its outcome is the file `report.json` in the conversion's folder.

use std::io;
use std::path::PathBuf;

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::domain::{ErrorCode, SandboxMode, Stage};
use crate::executor::task::{ChildSuccess, Task, Version};

/// Raised with every incompatible change; both ends refuse another number.
pub const VERSION: u32 = 2;

/// A longer frame means a broken peer.
const MAX_FRAME: u32 = 1 << 20;

/// From the supervisor to the zygote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Command {
    Hello(Hello),
    Convert(Convert),
    Cancel { id: u64 },
}

/// The first message: settings of the zygote.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Hello {
    pub protocol: u32,
    pub sandbox: SandboxMode,
    /// The seccomp program of the children, base64 of an array of `struct sock_filter`; empty if the sandbox is off or
    /// the machine is not supported.
    pub seccomp: String,
    /// Folders that children may read, besides the engine's own and the system's libraries.
    pub readable: Vec<PathBuf>,
    /// A cold zygote forks before it imports bpy: slower, and free of everything that a fork can break.
    pub cold: bool,
    /// Seconds without CPU time after which a sleeping child counts as hung.
    pub hang_after_s: f64,
}

/// One conversion for one child.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Convert {
    pub id: u64,
    /// The conversion's own folder, absolute: `in/` holds the model, `out/` takes the result, `tmp/` is scratch.
    pub folder: PathBuf,
    pub task: Task,
    pub limits: ChildLimits,
}

/// Limits of one child: rlimits, except for `disk_bytes`, which the zygote checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChildLimits {
    /// Address space in bytes.
    pub memory_bytes: u64,
    pub cpu_seconds: u64,
    /// The largest file it may write, in bytes.
    pub file_bytes: u64,
    /// Bytes by which its folder may grow.
    pub disk_bytes: u64,
    pub open_files: u64,
}

/// From the zygote to the supervisor.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
pub enum Event {
    Ready(Ready),
    /// The zygote cannot serve and exits; `reason` is one sentence.
    Broken {
        reason: String,
    },
    Started {
        id: u64,
        pid: u32,
    },
    Progress {
        id: u64,
        stage: Stage,
        /// 0 to 1 within the stage, if known.
        #[serde(default)]
        fraction: Option<f64>,
    },
    /// The child said that its report is written, and was killed, so it can change nothing any more. Its slot stays
    /// taken until it has `exited`, because its memory is still being released.
    Finished {
        id: u64,
    },
    Exited(Exited),
}

/// The zygote is warm.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Ready {
    pub protocol: u32,
    #[serde(flatten)]
    pub version: Version,
    /// Parts of the sandbox that this kernel or machine lacks: `landlock`, `seccomp`, …
    pub sandbox_missing: Vec<String>,
}

/// A child is reaped and its session is gone.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Exited {
    pub id: u64,
    pub end: End,
    /// The highest resident set of the child, in bytes.
    pub peak_memory_bytes: u64,
    pub cpu_seconds: f64,
    /// The last stage it reported.
    #[serde(default)]
    pub stage: Option<Stage>,
    /// The last lines of its output, at most 4 KiB.
    pub log: String,
}

/// How a child ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "how", rename_all = "snake_case")]
pub enum End {
    /// It exited, or was killed after it had finished; the outcome is in `report.json`.
    Exit { status: i32 },
    /// It died by a signal that the zygote did not send.
    Signal { signal: i32 },
    /// It asked for more memory than allowed.
    MemoryLimit,
    /// It used more CPU time than allowed.
    CpuLimit,
    /// Its files, together, took more room than allowed.
    DiskLimit,
    /// It asked for more threads than allowed, and crashed or went on asking.
    ThreadLimit,
    /// It slept without using CPU time, and was killed.
    Hang,
    /// It was killed on request.
    Cancelled,
    /// It could not be forked.
    NotStarted,
}

/// The content of `report.json`, which a child writes.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "outcome", rename_all = "snake_case")]
// Only one exists at a time, and briefly: a box would gain nothing.
#[allow(clippy::large_enum_variant)]
pub enum ChildReport {
    Succeeded(ChildSuccess),
    Failed { code: ErrorCode, detail: String },
}

/// Reads the next frame; `None` at the end of the stream. Fails with `InvalidData` if the peer does not speak this
/// protocol.
pub async fn read<T: DeserializeOwned>(reader: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<T>> {
    let length = match reader.read_u32().await {
        Ok(length) => length,
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(None),
        Err(error) => return Err(error),
    };
    if length > MAX_FRAME {
        return Err(io::Error::new(io::ErrorKind::InvalidData, format!("a frame of {length} bytes")));
    }
    let mut frame = vec![0; length as usize];
    reader.read_exact(&mut frame).await?;
    Ok(Some(serde_json::from_slice(&frame)?))
}

/// Writes one frame.
pub async fn write(writer: &mut (impl AsyncWrite + Unpin), message: &impl Serialize) -> io::Result<()> {
    let body = serde_json::to_vec(message)?;
    let length = u32::try_from(body.len())
        .ok()
        .filter(|length| *length <= MAX_FRAME)
        .ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "the message is too long"))?;
    let mut frame = length.to_be_bytes().to_vec();
    frame.extend(body);
    writer.write_all(&frame).await
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    const EXAMPLES: &str = include_str!("../../../blender/tests/protocol.json");

    fn examples(kind: &str) -> Vec<Value> {
        let all: Value = serde_json::from_str(EXAMPLES).unwrap();
        all[kind].as_array().unwrap().clone()
    }

    fn check_examples<T: Serialize + DeserializeOwned>(kind: &str) {
        for example in examples(kind) {
            let message: T = serde_json::from_value(example.clone()).unwrap();
            assert_eq!(serde_json::to_value(message).unwrap(), example);
        }
    }

    #[test]
    fn the_protocol_examples_survive_reading_and_writing() {
        check_examples::<Command>("commands");
        check_examples::<Event>("events");
        check_examples::<ChildReport>("reports");
    }

    #[test]
    fn the_protocol_version_matches_the_examples() {
        assert_eq!(examples("commands")[0]["protocol"], VERSION);
        assert_eq!(examples("events")[0]["protocol"], VERSION);
    }

    #[tokio::test]
    async fn frames_survive_a_stream() {
        let (mut near, mut far) = tokio::io::duplex(64);
        let sent = Event::Started { id: 7, pid: 42 };
        write(&mut near, &sent).await.unwrap();
        drop(near);
        assert_eq!(read::<Event>(&mut far).await.unwrap(), Some(sent));
        assert_eq!(read::<Event>(&mut far).await.unwrap(), None);
    }

    #[tokio::test]
    async fn a_huge_frame_is_refused() {
        let mut stream: &[u8] = &[0xff, 0xff, 0xff, 0xff, b'{'];
        let error = read::<Event>(&mut stream).await.unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
