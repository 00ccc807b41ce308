//! Blender as the engine: a supervised zygote that forks one sandboxed child per conversion.
//!
//! ```text
//! supervisor   the face: slots, start, shutdown
//! └─ conversion   one conversion: attempts, time-out, cancel, what its end means
//!    ├─ outcome      what a child leaves in its folder
//!    └─ pool         the warm zygote and its successors
//!       └─ zygote       one process: socket, orders, events
//!          └─ launch       how it is started; what it prints
//! ```

mod conversion;
pub mod error;
mod launch;
pub mod locate;
mod outcome;
pub mod package;
mod pool;
pub mod protocol;
pub mod sandbox;
pub mod stats;
pub mod supervisor;
mod zygote;

pub use conversion::Done;
pub use error::EngineError;
pub use locate::Version;
pub use supervisor::{Blender, Settings};
