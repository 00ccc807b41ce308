//! Compares a queue with a simple model after each of many random steps.
//!
//! Jobs outlive the test. So do leases and pauses, except those of a second handle, which are over when a step has ended.
//! So the model needs no clock.

mod check;
mod deliveries;
mod expected;
mod keys;
mod run;
mod step;
mod take;

use std::time::Duration;

use meshgate::jobs::Limits;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Runtime;

use super::side::{AnyQueue, HELD, LIMITS, Side};
use run::Model;
use step::{Step, step};

/// Clients that submit jobs.
const CLIENTS: usize = 3;

/// Limits that are often reached.
const TIGHT: Limits = Limits { jobs: 8, client_jobs: 4, bytes: 90_000, client_bytes: 50_000, ..LIMITS };

/// A lease, or a pause, of the second handle.
const MOMENT: Duration = Duration::from_millis(1);

/// Two handles on one storage.
pub struct Handles {
    queue: AnyQueue,
    /// Its leases and pauses last a [`MOMENT`].
    brief: AnyQueue,
}

impl Handles {
    async fn open(side: &impl Side) -> Handles {
        Handles { queue: side.open_with(TIGHT, HELD).await, brief: side.open_with(TIGHT, MOMENT).await }
    }
}

/// Runs random steps on new storage, as often as `cases` says, and checks that queue and model agree.
pub fn compare<S: Side>(cases: u32, start: impl Fn() -> S) {
    let runtime = Runtime::new().unwrap();
    let config = Config { cases, failure_persistence: None, ..Config::default() };
    let steps = proptest::collection::vec(step(), 1..60);
    let outcome = TestRunner::new(config).run(&steps, |steps| {
        let side = start();
        runtime.block_on(follow(&side, steps));
        Ok(())
    });
    outcome.unwrap();
}

async fn follow(side: &impl Side, steps: Vec<Step>) {
    let mut handles = Handles::open(side).await;
    let mut model = Model::default();
    for step in steps {
        if matches!(step, Step::Reopen) {
            drop(handles);
            handles = Handles::open(side).await;
        }
        let changed = model.step(&handles, step).await;
        model.check(&handles.queue, &changed).await;
    }
    model.end_all(&handles.queue).await;
}
