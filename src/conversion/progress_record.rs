//! What is known of a conversion while it goes on: for whom it is, and for those who count it, whatever its end.

use std::sync::{Arc, OnceLock};

use crate::domain::{Client, Format};
use crate::executor::local::stats::Usage;

/// Who does the work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lane {
    Native,
    Blender,
}

impl Lane {
    /// For metrics.
    pub const fn word(self) -> &'static str {
        match self {
            Lane::Native => "native",
            Lane::Blender => "blender",
        }
    }
}

/// Filled in as the conversion gets on; what is missing was not reached.
#[derive(Debug, Default)]
pub struct Course {
    /// Shares the engine with the other clients.
    pub(super) client: Client,
    pub(super) model: OnceLock<(Format, u64)>,
    pub(super) lane: OnceLock<Lane>,
    pub(super) result_bytes: OnceLock<u64>,
    pub(super) usage: Arc<Usage>,
}

impl Course {
    /// Of a conversion for this client.
    pub fn of(client: Client) -> Self {
        Self { client, ..Self::default() }
    }

    /// What the model is, found in its content, and its bytes.
    pub fn model(&self) -> Option<(Format, u64)> {
        self.model.get().copied()
    }

    pub fn lane(&self) -> Option<Lane> {
        self.lane.get().copied()
    }

    /// Bytes of all files of the result.
    pub fn result_bytes(&self) -> Option<u64> {
        self.result_bytes.get().copied()
    }

    /// What it used of Blender.
    pub fn usage(&self) -> &Usage {
        &self.usage
    }
}
