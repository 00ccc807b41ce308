//! Compares a queue with a simple model after each of many random steps. Leases and jobs outlive the test.

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

use super::{HELD, LIMITS, Side};
use run::Model;
use step::{Step, step};

/// Clients that submit jobs.
const CLIENTS: usize = 3;

/// Limits that are often reached.
const TIGHT: Limits = Limits { jobs: 8, client_jobs: 4, bytes: 60, client_bytes: 35, ..LIMITS };

const HOUR: Duration = Duration::from_hours(1);

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
    let mut queue = side.open_with(TIGHT, HELD).await;
    let mut model = Model::default();
    for step in steps {
        if matches!(step, Step::Reopen) {
            drop(queue);
            queue = side.open_with(TIGHT, HELD).await;
        }
        let changed = model.step(&queue, step).await;
        model.check(&queue, changed).await;
    }
    model.end_all(&queue).await;
}
