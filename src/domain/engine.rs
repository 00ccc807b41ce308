//! Terms of the engine that others share: how strict its sandbox is, and the stages of a conversion.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// The behaviour if the kernel lacks a part of the sandbox.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SandboxMode {
    /// Use the parts that exist, and warn about missing ones.
    #[default]
    Auto,
    /// Refuse to start if a part is missing.
    Require,
    /// No sandbox.
    Off,
}

/// A stage of a conversion. Only a job can be in the first one: it waits for its Kubernetes Job to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    Scheduling,
    Importing,
    Processing,
    Exporting,
    Packing,
}
