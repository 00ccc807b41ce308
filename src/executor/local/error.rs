//! Errors of finding and starting the engine.

use std::io;
use std::path::PathBuf;
use std::time::Duration;

/// An error that keeps Blender from running. The sentences are for the operator, who may read paths.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    #[error("no engine found: run `meshgate engine install`, or set BLENDER_PYTHON or BLENDER_BIN")]
    NotFound,
    #[error("{setting} is {}, which is not an executable file", path.display())]
    NotExecutable { setting: &'static str, path: PathBuf },
    #[error("could not write the engine's package: {0}")]
    Package(#[source] io::Error),
    #[error("could not prepare the sandbox: {0}")]
    Sandbox(String),
    #[error("the sandbox is required and this machine lacks {}", .0.join(", "))]
    SandboxMissing(Vec<String>),
    #[error("could not start {}: {error}", program.display())]
    Spawn { program: PathBuf, error: io::Error },
    /// The engine reported why it cannot serve.
    #[error("the engine is broken: {reason}{}", tail(.log))]
    Broken { reason: String, log: Vec<String> },
    /// The engine ended before it was ready; `log` has the last lines of its output.
    #[error("the engine does not start ({status}){}", tail(.log))]
    Exited { status: String, log: Vec<String> },
    #[error("the engine was not ready after {} s{}", waited.as_secs(), tail(.log))]
    NotReady { waited: Duration, log: Vec<String> },
    #[error("the engine speaks another protocol: {what}{}", tail(.log))]
    Protocol { what: String, log: Vec<String> },
    #[error("the engine is shutting down")]
    Stopped,
}

impl EngineError {
    /// The reason worded for clients: without paths and without the engine's output.
    pub fn public(&self) -> String {
        match self {
            // Python's message may contain the path of a file or library.
            EngineError::Broken { reason, .. } if reason.contains('/') => "the engine is broken".to_owned(),
            EngineError::Broken { reason, .. } => format!("the engine is broken: {reason}"),
            EngineError::Exited { status, .. } => format!("the engine does not start ({status})"),
            EngineError::NotReady { waited, .. } => {
                format!("the engine was not ready after {} s", waited.as_secs())
            }
            EngineError::Protocol { .. } => "the engine speaks another protocol".to_owned(),
            EngineError::Spawn { .. } | EngineError::NotExecutable { .. } => {
                "the engine does not start".to_owned()
            }
            EngineError::Package(_) => "could not write the engine's package".to_owned(),
            EngineError::NotFound
            | EngineError::Sandbox(_)
            | EngineError::SandboxMissing(_)
            | EngineError::Stopped => self.to_string(),
        }
    }

    /// The last lines of the engine's output, oldest first.
    pub fn log(&self) -> &[String] {
        match self {
            EngineError::Broken { log, .. }
            | EngineError::Exited { log, .. }
            | EngineError::NotReady { log, .. }
            | EngineError::Protocol { log, .. } => log,
            _ => &[],
        }
    }
}

/// The last three lines of a log as one: a Python error is in the last line, its location in the two before.
fn tail(log: &[String]) -> String {
    let lines: Vec<&str> = log.iter().map(|line| line.trim()).filter(|line| !line.is_empty()).collect();
    let last = lines.get(lines.len().saturating_sub(3)..).unwrap_or_default();
    if last.is_empty() { ", and printed nothing".to_owned() } else { format!(": {}", last.join(" | ")) }
}
