//! Integration tests with real components, in one binary.

/// Runs each test with each implementation: creates a module for each, whose tests start it and call the test with it.
macro_rules! suite {
    ({ $($side:ident: $start:expr),* $(,)? } $tests:tt) => {
        $(suite! { @$side $start, $tests })*
    };
    (@$side:ident $start:expr, { $($test:ident)* }) => {
        mod $side {
            $(#[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                super::$test($start).await;
            })*
        }
    };
}

mod busy_engine;
mod cache;
mod cli;
mod cli_convert;
mod cli_jobs;
mod configuration;
mod conversions;
mod deployment;
mod documents;
mod gateway;
mod healthcheck;
mod intake;
mod jobs;
mod limits;
mod mounts;
mod redis;
mod storage;
mod supervisor;
mod webhooks;
