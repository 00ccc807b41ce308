//! Blender as the engine: a supervised zygote that forks one sandboxed child per conversion.
//!
//! ```text
//! lazy         starts it with the first conversion that needs it
//! supervisor   slots, start, shutdown
//! └─ attempts     one conversion: attempts, timeout, cancel, result
//!    ├─ retry_policy which attempts may follow a failed one
//!    ├─ child_result reads a child's report and result
//!    └─ pool         the warm zygote and its successors
//!       └─ zygote       one process: socket, requests, events
//!          └─ launch       starts the process, keeps its output
//! ```

mod attempts;
mod child_result;
pub mod error;
mod launch;
mod lazy;
pub mod locate;
mod pool;
pub mod protocol;
pub mod python_package;
mod retry_policy;
pub mod seccomp;
pub mod supervisor;
mod zygote;

pub use error::EngineError;
pub use lazy::LocalExecutor;
pub use supervisor::{Blender, Settings};
