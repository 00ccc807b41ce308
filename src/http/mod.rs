//! The HTTP API: requests in, files and problems out. Knows the conversion path, and nothing of how it works.

pub mod access;
mod answer;
mod apidocs;
mod bodies;
mod convert;
mod describe;
mod document;
mod file;
mod formats;
mod metrics;
mod patience;
mod probes;
mod problem;
mod receive;
mod refusal;
mod report_texts;
mod reports;
mod request_id;
mod router;
mod server;
mod shares;
mod socket;
mod state;
mod watch;
mod wire;

pub use document::text as document;
pub use report_texts::Sending;
pub use router::{metrics_router, router};
pub use server::Server;
pub use shares::{Results, Shares};
pub use state::{Gateway, Settings};
