//! The HTTP API: requests in, files and problems out. It calls the conversion service without knowing how that works.

mod convert;
mod digest;
mod docs_ui;
mod formats;
mod headers;
mod health;
mod jobs;
mod metrics;
pub mod middleware;
mod observed_body;
mod openapi;
mod problem;
mod reject;
mod report_texts;
mod reports;
mod router;
mod server;
mod shares;
mod state;
mod time_credit;
mod upload;
mod waiting;

pub use openapi::text as openapi;
pub use report_texts::ReportTexts;
pub use router::{metrics_router, router};
pub use server::Server;
pub use shares::{ResultShares, Shares};
pub use state::{Gateway, Role};
pub use waiting::Waiting;
