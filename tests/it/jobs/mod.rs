//! Durable jobs: one suite for every queue, and a comparison with a simple model.

/// Runs each test against each queue.
macro_rules! queues {
    ($tests:tt) => {
        suite! {
            {
                on_sqlite: crate::jobs::sqlite::SqliteSide::start(),
                on_redis: crate::jobs::redis::RedisSide::start(),
            }
            $tests
        }
    };
}

mod check;
mod model;
mod redis;
mod samples;
mod side;
mod sqlite;
mod steps;
mod suite;
mod ways;
