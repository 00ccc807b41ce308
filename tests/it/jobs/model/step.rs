//! Random steps.

use std::time::Duration;

use meshgate::jobs::{GiveBack, NextAttempt, Priority, State, TakeOrder};
use proptest::prelude::*;
use proptest::sample::{Index, select};

use super::CLIENTS;
use crate::jobs::samples::REASONS;

/// `brief`: through the handle whose leases and pauses end with the step.
#[derive(Debug, Clone)]
pub enum Step {
    Submit { client: usize, priority: Priority, bytes: u64, webhook: bool, key: Option<KeyUse> },
    Reserve { client: usize, key: KeyUse },
    Release { client: usize, key: KeyUse },
    Take { order: TakeOrder, brief: bool },
    Claim { job: Index },
    Renew { claim: Pick, progress: bool },
    Finish { claim: Pick, how: How },
    GiveBack { claim: Pick, reason: GiveBack, brief: bool },
    Cancel { job: Index },
    Remove { job: Index },
    Sweep,
    ExtendLeases,
    List { client: usize, state: Option<State>, size: usize },
    TakeDelivery,
    RecordDeliveryAttempt { delivery: Pick, next: NextAttempt },
    PostponeDelivery { delivery: Pick, pause: Duration },
    Redeliver { job: Index },
    Reopen,
}

/// A use of one of a client's keys.
#[derive(Debug, Clone, Copy)]
pub struct KeyUse {
    pub name: u8,
    pub token: u128,
    pub content: u8,
}

/// Chooses a claim or a delivery: if `held`, one whose lease is held, unless there is none; or else any.
#[derive(Debug, Clone, Copy)]
pub struct Pick {
    pub held: bool,
    pub index: Index,
}

/// How a worker finishes a job.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum How {
    Succeeds,
    Fails,
    IsCancelled,
}

fn key() -> impl Strategy<Value = KeyUse> {
    (0..2_u8, 1..3_u128, 0..2_u8).prop_map(|(name, token, content)| KeyUse { name, token, content })
}

fn pick() -> impl Strategy<Value = Pick> {
    (proptest::bool::weighted(0.7), any::<Index>()).prop_map(|(held, index)| Pick { held, index })
}

fn priority() -> impl Strategy<Value = Priority> {
    select(vec![Priority::Low, Priority::Normal, Priority::Request])
}

fn order() -> impl Strategy<Value = TakeOrder> {
    select(vec![TakeOrder::RequestsFirst, TakeOrder::RequestsLast])
}

fn how() -> impl Strategy<Value = How> {
    select(vec![How::Succeeds, How::Fails, How::IsCancelled])
}

fn reason() -> impl Strategy<Value = GiveBack> {
    select(REASONS.to_vec())
}

fn next() -> impl Strategy<Value = NextAttempt> {
    prop_oneof![1 => Just(NextAttempt::Never), 2 => pause().prop_map(NextAttempt::After)]
}

/// A pause until a webhook is due: none, or one that outlives the test.
fn pause() -> impl Strategy<Value = Duration> {
    select(vec![Duration::ZERO, Duration::from_hours(1)])
}

/// A step of a client.
fn of_client() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let submit =
        (client.clone(), priority(), 1..20_000_u64, any::<bool>(), proptest::option::weighted(0.3, key()));
    prop_oneof![
        9 => submit.prop_map(|(client, priority, bytes, webhook, key)| {
            Step::Submit { client, priority, bytes, webhook, key }
        }),
        1 => (client.clone(), key()).prop_map(|(client, key)| Step::Reserve { client, key }),
        1 => (client.clone(), key()).prop_map(|(client, key)| Step::Release { client, key }),
        2 => any::<Index>().prop_map(|job| Step::Cancel { job }),
        1 => any::<Index>().prop_map(|job| Step::Remove { job }),
        1 => any::<Index>().prop_map(|job| Step::Redeliver { job }),
        1 => (client, proptest::option::of(select(State::ALL.to_vec())), 1..5_usize)
            .prop_map(|(client, state, size)| Step::List { client, state, size }),
    ]
}

/// A step of a worker, or of the sender of webhooks.
fn of_worker() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (order(), proptest::bool::weighted(0.2)).prop_map(|(order, brief)| Step::Take { order, brief }),
        2 => any::<Index>().prop_map(|job| Step::Claim { job }),
        2 => (pick(), any::<bool>()).prop_map(|(claim, progress)| Step::Renew { claim, progress }),
        4 => (pick(), how()).prop_map(|(claim, how)| Step::Finish { claim, how }),
        3 => (pick(), reason(), any::<bool>())
            .prop_map(|(claim, reason, brief)| Step::GiveBack { claim, reason, brief }),
        1 => Just(Step::Sweep),
        1 => Just(Step::ExtendLeases),
        3 => Just(Step::TakeDelivery),
        3 => (pick(), next()).prop_map(|(delivery, next)| Step::RecordDeliveryAttempt { delivery, next }),
        1 => (pick(), pause()).prop_map(|(delivery, pause)| Step::PostponeDelivery { delivery, pause }),
        1 => Just(Step::Reopen),
    ]
}

pub fn step() -> impl Strategy<Value = Step> {
    prop_oneof![2 => of_client(), 3 => of_worker()]
}
