//! The words of the product as plain data: formats, options, clients, reports, errors.
//! Nothing here knows of HTTP, Redis, Kubernetes, tokio or the environment.

pub mod cancel;
pub mod census;
pub mod client;
pub mod engine;
pub mod error;
pub mod format;
pub mod options;
pub mod report;

pub use cancel::{Cancel, CancelGuard, Cancellable};
pub use census::Census;
pub use client::{Client, HeldBytes, Purpose};
pub use engine::{SandboxMode, Stage};
pub use error::{ConversionError, ErrorCode};
pub use format::{Feature, Format};
pub use options::Options;
pub use report::{Contents, Report};
