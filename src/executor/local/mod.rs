//! Blender as the engine: a supervised zygote that forks one sandboxed child per conversion.
//!
//! ```text
//! lazy         starts it for the first conversion that needs it
//! supervisor   the face: slots, start, shutdown
//! └─ attempts     one conversion: attempts, time-out, cancel, what its end means
//!    ├─ child_result what a child leaves in its folder
//!    └─ pool         the warm zygote and its successors
//!       └─ zygote       one process: socket, orders, events
//!          └─ launch       how it is started; what it prints
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
pub mod seccomp;
pub mod supervisor;
mod zygote;

pub use error::EngineError;
pub use lazy::LocalExecutor;
pub use supervisor::{Blender, Settings};
