//! Compares both limiters with a simple model: a list of all requests.

use std::cell::Cell;
use std::time::Duration;

use proptest::prelude::*;
use proptest::test_runner::{Config, TestRunner};
use tokio::runtime::Handle;
use tokio::task::block_in_place;

use super::{Side, key, quota};

/// The window in seconds. Steps are whole tenths of it, so that the real time that passes does not matter.
const WINDOW: u64 = 1000;
const STEP: u64 = WINDOW / 10;

/// An event for one of two clients.
#[derive(Debug, Clone)]
enum Event {
    Takes {
        client: usize,
    },
    /// Gives back the request with this number, if it was allowed and still counts.
    GivesBack {
        request: usize,
    },
    TimePasses {
        steps: u64,
    },
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        6 => (0..2_usize).prop_map(|client| Event::Takes { client }),
        2 => (0..12_usize).prop_map(|request| Event::GivesBack { request }),
        3 => (1..14_u64).prop_map(|steps| Event::TimePasses { steps }),
    ]
}

/// A request that was allowed and not given back.
struct Counted {
    client: usize,
    came: u64,
}

fn wait<T>(future: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(future))
}

/// Checks that the limiter and the model agree after every event.
pub fn compare(side: &impl Side) {
    let limiter = side.limiter();
    let run = Cell::new(0_u32);
    let config = Config { cases: 64, failure_persistence: None, ..Config::default() };
    let events = (1..6_u32, proptest::collection::vec(event(), 1..40));
    let outcome = TestRunner::new(config).run(&events, |(most, events)| {
        run.set(run.get() + 1);
        let mut now = 0;
        let mut model: Vec<Option<Counted>> = Vec::new();
        let mut tickets = Vec::new();
        for event in events {
            match event {
                Event::Takes { client } => {
                    let who = key(&format!("{client} of run {}", run.get()));
                    let decision = wait(limiter.take(&who, quota(most, WINDOW)));
                    let counted: Vec<u64> = model
                        .iter()
                        .flatten()
                        .filter(|each| each.client == client && each.came + WINDOW > now)
                        .map(|each| each.came)
                        .collect();
                    let let_in = counted.len() < most as usize;
                    let oldest = counted.first().copied().unwrap_or(now);
                    prop_assert_eq!(decision.ticket.is_some(), let_in);
                    let remaining = most as usize - counted.len() - usize::from(let_in);
                    prop_assert_eq!(decision.remaining as usize, remaining);
                    let reset = Duration::from_secs(oldest + WINDOW - now);
                    prop_assert!(decision.reset <= reset, "{:?} after {:?}", decision.reset, reset);
                    prop_assert!(decision.reset + Duration::from_secs(STEP) > reset, "{:?}", decision.reset);
                    model.push(let_in.then_some(Counted { client, came: now }));
                    tickets.push(decision.ticket);
                }
                Event::GivesBack { request } => {
                    if let Some(ticket) = tickets.get_mut(request).and_then(Option::take) {
                        wait(limiter.give_back(ticket));
                        model[request] = None;
                    }
                }
                Event::TimePasses { steps } => {
                    side.pass(Duration::from_secs(steps * STEP));
                    now += steps * STEP;
                }
            }
        }
        Ok(())
    });
    outcome.unwrap();
}
