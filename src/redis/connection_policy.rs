//! What one part of the program needs of its Redis.

use std::time::Duration;

use super::error::Error;

/// The usual time limit of an answer: the most that Redis can delay a request. A healthy Redis answers within a
/// millisecond; a machine that is busy with conversions needs more.
pub const ANSWER_WITHIN: Duration = Duration::from_millis(500);

/// Checks what Redis says about itself (`INFO`). The error is [`Error::Unsuitable`] if this Redis cannot be used, and
/// another one if it cannot be used yet.
pub type Check = Box<dyn Fn(&str) -> Result<(), Error> + Send + Sync>;

/// What one part of the program needs of its Redis. The defaults are those of data that may be lost.
pub struct ConnectionPolicy {
    /// Time limit of an answer.
    pub answer_within: Duration,
    /// Whether a Redis whose memory is full is available. Only the commands that need memory fail then.
    pub works_when_full: bool,
    /// Run on each new connection.
    pub check: Option<Check>,
    /// What the log calls this Redis.
    pub name: &'static str,
    /// What the process does while Redis is unavailable, for the log.
    pub fallback: &'static str,
}

impl Default for ConnectionPolicy {
    fn default() -> Self {
        Self {
            answer_within: ANSWER_WITHIN,
            works_when_full: false,
            check: None,
            name: "redis",
            fallback: "using in-process state",
        }
    }
}

impl ConnectionPolicy {
    /// Whether the error concerns Redis as a whole, not only one command. Full memory does unless `works_when_full`.
    pub(super) fn concerns_server(&self, error: &Error) -> bool {
        let works = self.works_when_full && matches!(error, Error::Full(_));
        error.concerns_server() && !works
    }
}
