//! The HTTP API: requests in, files and problems out. Knows the conversion path, and nothing of how it works.

mod bodies;
mod convert;
mod describe;
mod file;
mod formats;
mod probes;
mod problem;
mod receive;
mod refusal;
mod reports;
mod request_id;
mod router;
mod server;
mod state;
mod wire;

pub use router::router;
pub use server::Server;
pub use state::{Gateway, Settings};
