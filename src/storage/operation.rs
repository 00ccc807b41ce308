//! The operations of a store and their outcomes, for metrics and health.

use super::health::AccessMode;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Operation {
    Check,
    PutBlob,
    FetchBlob,
    Presign,
    Put,
    Get,
    Remove,
    List,
    Sweep,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    Done,
    /// The blob was there already.
    Present,
    /// The object is not there.
    Absent,
    /// The blob did not match its name.
    Corrupt,
    Failed,
    /// The store was unreachable a moment ago, and was not asked.
    Skipped,
}

impl Operation {
    pub fn word(self) -> &'static str {
        match self {
            Operation::Check => "check",
            Operation::PutBlob => "put_blob",
            Operation::FetchBlob => "fetch_blob",
            Operation::Presign => "presign",
            Operation::Put => "put",
            Operation::Get => "get",
            Operation::Remove => "remove",
            Operation::List => "list",
            Operation::Sweep => "sweep",
        }
    }

    /// The kind of access that its success proves.
    pub fn access(self) -> AccessMode {
        use Operation::{FetchBlob, Get, List, Presign};
        if matches!(self, FetchBlob | Presign | Get | List) { AccessMode::Read } else { AccessMode::Write }
    }
}

impl Outcome {
    /// The outcome of an operation on an object that may be absent.
    pub fn found(is_there: bool) -> Self {
        if is_there { Outcome::Done } else { Outcome::Absent }
    }

    pub fn word(self) -> &'static str {
        match self {
            Outcome::Done => "done",
            Outcome::Present => "present",
            Outcome::Absent => "absent",
            Outcome::Corrupt => "corrupt",
            Outcome::Failed => "failed",
            Outcome::Skipped => "skipped",
        }
    }
}
