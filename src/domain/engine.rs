//! Words of the engine that others have to know: how strict its sandbox is, and where a conversion is.

use serde::{Deserialize, Serialize};

/// What happens when the kernel lacks a part of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// Use what there is and warn about what is missing.
    #[default]
    Auto,
    /// Refuse to start without all of it.
    Require,
    /// No sandbox.
    Off,
}

/// Where a conversion is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Importing,
    Processing,
    Exporting,
    Packing,
}
