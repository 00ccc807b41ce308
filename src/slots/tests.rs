use std::pin::Pin;
use std::task::Poll;

use futures_util::{FutureExt, poll};
use proptest::prelude::*;

use super::*;

type Wait = Pin<Box<dyn Future<Output = Slot> + Send>>;

const REQUEST: Purpose = Purpose::Request;
const JOB: Purpose = Purpose::Job { memory_factor: 1 };

fn client(name: &str) -> Client {
    Client::Key(name.into())
}

/// Waits for a slot for a conversion of this client.
fn wait(slots: &Slots, name: &str, purpose: Purpose) -> Wait {
    let (slots, client) = (slots.clone(), client(name));
    Box::pin(async move { slots.acquire(&client, purpose).await })
}

/// Starts to wait for a slot for a conversion of this client, which does not get one at once.
fn starts_to_wait(slots: &Slots, name: &str, purpose: Purpose) -> Wait {
    let mut wait = wait(slots, name, purpose);
    assert!(wait.as_mut().now_or_never().is_none(), "{name} does not wait");
    wait
}

fn waits(slots: &Slots, name: &str) -> Wait {
    starts_to_wait(slots, name, REQUEST)
}

fn job_waits(slots: &Slots, name: &str) -> Wait {
    starts_to_wait(slots, name, JOB)
}

async fn got(wait: &mut Wait) -> Option<Slot> {
    match poll!(wait) {
        Poll::Ready(slot) => Some(slot),
        Poll::Pending => None,
    }
}

/// Takes the conversion that has got a slot out of those that wait.
async fn next_of<T>(waiting: &mut Vec<(T, Wait)>) -> (T, Slot) {
    let mut next = None;
    for (index, (_, wait)) in waiting.iter_mut().enumerate() {
        if let Some(slot) = got(wait).await {
            next = Some((index, slot));
            break;
        }
    }
    let (index, slot) = next.unwrap();
    (waiting.remove(index).0, slot)
}

#[tokio::test]
async fn a_lone_client_gets_all_slots_in_order() {
    let slots = Slots::new(2, 1);
    let (one, two) = (slots.acquire(&client("a"), REQUEST).await, slots.acquire(&client("a"), REQUEST).await);
    let (mut third, mut fourth) = (waits(&slots, "a"), waits(&slots, "a"));
    assert_eq!((slots.busy(), slots.waiting()), (2, 2));
    drop(two);
    assert!(got(&mut fourth).await.is_none());
    let third = got(&mut third).await.unwrap();
    drop(one);
    drop((third, got(&mut fourth).await.unwrap()));
    assert_eq!((slots.busy(), slots.waiting(), slots.lock().parties.len()), (0, 0, 0));
}

#[tokio::test]
async fn clients_take_turns_at_one_slot() {
    let slots = Slots::new(1, 1);
    let mut held = Some(slots.acquire(&client("a"), REQUEST).await);
    // A flood of requests, and two other clients that send the next request after each answer.
    let mut waiting: Vec<(&str, Wait)> = (0..6).map(|_| ("a", waits(&slots, "a"))).collect();
    waiting.extend(["b", "c"].map(|name| (name, waits(&slots, name))));
    let mut order = String::new();
    for _ in 0..8 {
        drop(held.take());
        let (name, slot) = next_of(&mut waiting).await;
        held = Some(slot);
        order.push_str(name);
        if name != "a" {
            waiting.push((name, waits(&slots, name)));
        }
    }
    // Clients that came during the flood are served before it; clients served since are served after it.
    assert_eq!(order, "bcabcabc");
}

#[tokio::test]
async fn the_client_with_fewest_slots_is_next() {
    let slots = Slots::new(3, 1);
    let mut a: Vec<Slot> = Vec::new();
    for _ in 0..3 {
        a.push(slots.acquire(&client("a"), REQUEST).await);
    }
    let (mut again, mut b, mut second) = (waits(&slots, "a"), waits(&slots, "b"), waits(&slots, "b"));
    a.pop();
    let _b = got(&mut b).await.unwrap();
    a.pop();
    // Both hold one, and `a` has just released one.
    let _second = got(&mut second).await.unwrap();
    assert!(got(&mut again).await.is_none());
    a.pop();
    assert!(got(&mut again).await.is_some());
}

#[tokio::test]
async fn a_dropped_request_frees_its_slot_and_client() {
    let slots = Slots::new(1, 1);
    let held = slots.acquire(&client("a"), REQUEST).await;
    let (first, second) = (waits(&slots, "b"), waits(&slots, "c"));
    drop(first);
    assert_eq!(slots.waiting(), 1);
    let mut third = waits(&slots, "d");
    drop(held);
    // `c` was granted the slot, and is dropped before it is polled.
    drop(second);
    drop(got(&mut third).await.unwrap());
    assert_eq!((slots.busy(), slots.waiting(), slots.lock().parties.len()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_slot_is_taken_over_after_a_long_wait() {
    let slots = Slots::new(2, 1);
    let (old, mut young) =
        (slots.acquire(&client("a"), REQUEST).await, slots.acquire(&client("a"), REQUEST).await);
    let (others, mine) = (slots.clone(), client("b"));
    let b = tokio::spawn(async move { others.acquire(&mine, REQUEST).await });
    let (same, mine) = (slots.clone(), client("a"));
    let more = tokio::spawn(async move { same.acquire(&mine, REQUEST).await });
    young.taken_over().await;
    assert!(old.taken_over().now_or_never().is_none());
    // It keeps its place before later requests of its client.
    let again = tokio::spawn(async move {
        young.requeue().await;
        young
    });
    let b = b.await.unwrap();
    // One each: no client has too many.
    tokio::time::sleep(10 * PATIENCE).await;
    assert!(old.taken_over().now_or_never().is_none() && b.taken_over().now_or_never().is_none());
    assert!(!again.is_finished() && !more.is_finished());
    // The next requests of `b` and of another client find the slot free.
    drop(b);
    for other in ["b", "c", "b"] {
        tokio::time::sleep(PATIENCE / 2).await;
        assert!(!again.is_finished());
        drop(slots.acquire(&client(other), REQUEST).now_or_never().unwrap());
    }
    let began = Instant::now();
    let again = again.await.unwrap();
    assert!(began.elapsed() >= PATIENCE && began.elapsed() < 2 * PATIENCE);
    assert!(!more.is_finished());
    drop((old, again));
    drop(more.await.unwrap());
    assert_eq!((slots.busy(), slots.waiting(), slots.lock().parties.len()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn one_slot_can_be_reserved_for_other_clients() {
    let slots = Slots::with_one_for_others(2);
    let held = slots.acquire(&client("a"), REQUEST).await;
    let mut more = waits(&slots, "a");
    for _ in 0..2 {
        drop(slots.acquire(&client("b"), REQUEST).now_or_never().unwrap());
        assert!(got(&mut more).await.is_none());
    }
    drop(held);
    drop(got(&mut more).await.unwrap());
    assert_eq!((slots.busy(), slots.waiting(), slots.lock().parties.len()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_single_slot_is_never_taken_over() {
    let slots = Slots::new(1, 1);
    let held = slots.acquire(&client("a"), REQUEST).await;
    let (others, mine) = (slots.clone(), client("b"));
    let b = tokio::spawn(async move { others.acquire(&mine, REQUEST).await });
    tokio::time::sleep(10 * PATIENCE).await;
    assert!(held.taken_over().now_or_never().is_none() && !b.is_finished());
}

#[tokio::test]
async fn requests_go_before_jobs_that_have_their_share() {
    let slots = Slots::new(2, 1);
    let (one, two) = (wait(&slots, "a", REQUEST).await, wait(&slots, "a", REQUEST).await);
    let (mut first, mut second) = (job_waits(&slots, "b"), job_waits(&slots, "b"));
    let mut request = waits(&slots, "c");
    drop(one);
    let first = got(&mut first).await.unwrap();
    drop(two);
    assert!(got(&mut second).await.is_none());
    drop(got(&mut request).await.unwrap());
    // No request waits any more.
    drop((first, got(&mut second).await.unwrap()));
    assert_eq!((slots.busy(), slots.waiting(), slots.lock().parties.len()), (0, 0, 0));
}

#[tokio::test]
async fn requests_and_jobs_take_turns_at_one_slot() {
    let slots = Slots::new(1, 1);
    let mut held = Some(wait(&slots, "a", REQUEST).await);
    let mut waiting: Vec<(char, Wait)> = (0..3).map(|_| ('r', waits(&slots, "a"))).collect();
    waiting.extend((0..3).map(|_| ('j', job_waits(&slots, "b"))));
    let mut order = String::new();
    while !waiting.is_empty() {
        drop(held.take());
        let (kind, slot) = next_of(&mut waiting).await;
        held = Some(slot);
        order.push(kind);
    }
    assert_eq!(order, "jrjrjr");
}

#[tokio::test]
async fn jobs_do_not_count_against_the_requests_of_their_client() {
    let slots = Slots::new(2, 1);
    let (job, held) = (wait(&slots, "a", JOB).await, wait(&slots, "b", REQUEST).await);
    let (mut first, mut second) = (waits(&slots, "a"), waits(&slots, "c"));
    drop(held);
    let first = got(&mut first).await.unwrap();
    assert!(got(&mut second).await.is_none());
    drop((job, first));
}

#[tokio::test(start_paused = true)]
async fn a_request_takes_over_the_slot_of_a_job_beyond_the_share() {
    let slots = Slots::new(2, 1);
    let (old, mut young) = (wait(&slots, "a", JOB).await, wait(&slots, "b", JOB).await);
    let request = tokio::spawn(wait(&slots, "c", REQUEST));
    young.taken_over().await;
    assert!(old.taken_over().now_or_never().is_none());
    let again = tokio::spawn(async move {
        young.requeue().await;
        young
    });
    let request = request.await.unwrap();
    // Requests and jobs have one each.
    tokio::time::sleep(10 * PATIENCE).await;
    assert!(old.taken_over().now_or_never().is_none() && request.taken_over().now_or_never().is_none());
    assert!(!again.is_finished());
    drop(request);
    drop((old, again.await.unwrap()));
    assert_eq!((slots.busy(), slots.waiting(), slots.lock().parties.len()), (0, 0, 0));
}

#[tokio::test(start_paused = true)]
async fn a_job_takes_over_no_slot_of_a_request() {
    let slots = Slots::new(2, 1);
    let (one, two) = (wait(&slots, "a", REQUEST).await, wait(&slots, "a", REQUEST).await);
    let job = tokio::spawn(wait(&slots, "b", JOB));
    tokio::time::sleep(10 * PATIENCE).await;
    assert!([&one, &two].iter().all(|slot| slot.taken_over().now_or_never().is_none()));
    assert!(!job.is_finished());
    drop(one);
    drop((two, job.await.unwrap()));
}

#[derive(Debug, Clone)]
enum Step {
    /// A conversion of this client, for a job or not.
    Comes(u8, bool),
    HangsUp(prop::sample::Index),
    Ends(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => (0..4_u8, any::<bool>()).prop_map(|(client, is_job)| Step::Comes(client, is_job)),
        1 => any::<prop::sample::Index>().prop_map(Step::HangsUp),
        3 => any::<prop::sample::Index>().prop_map(Step::Ends),
    ]
}

proptest! {
    /// In any sequence of steps, no slot is given twice, none is free while a conversion waits, none goes to a client
    /// that holds more than another waiting client, and requests and jobs get their shares.
    #[test]
    fn slots_are_shared_fairly(
        count in 1..4_usize,
        share in 1..4_usize,
        steps in prop::collection::vec(step(), 1..80),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap();
        let _inside = runtime.enter();
        let slots = Slots::new(count, share);
        let names = ["a", "b", "c", "d"];
        let mut waiting: Vec<(Party, Wait)> = Vec::new();
        let mut held: Vec<Slot> = Vec::new();
        let mut job_was_last = false;
        for step in steps {
            match step {
                Step::Comes(number, is_job) => {
                    let name = names[usize::from(number)];
                    let party = Party { client: client(name), is_job };
                    waiting.push((party, wait(&slots, name, if is_job { JOB } else { REQUEST })));
                }
                Step::HangsUp(index) if !waiting.is_empty() => drop(waiting.remove(index.index(waiting.len()))),
                Step::Ends(index) if !held.is_empty() => drop(held.remove(index.index(held.len()))),
                Step::HangsUp(_) | Step::Ends(_) => {}
            }
            let before: Vec<Party> = held.iter().map(|slot| slot.party.clone()).collect();
            let holds = |party: &Party| before.iter().filter(|other| *other == party).count();
            let held_by_jobs = before.iter().filter(|party| party.is_job).count();
            let jobs_first = held_by_jobs < share && (share < count || !job_was_last);
            let mut given = Vec::new();
            let mut still = Vec::new();
            for (party, mut wait) in waiting {
                match wait.as_mut().now_or_never() {
                    Some(slot) => given.push(slot),
                    None => still.push((party, wait)),
                }
            }
            waiting = still;
            for slot in given {
                let is_job = slot.party.is_job;
                let of_kind = |is_job: bool| waiting.iter().filter(move |(party, _)| party.is_job == is_job);
                let least = of_kind(is_job).map(|(party, _)| holds(party)).min();
                prop_assert!(least.is_none_or(|least| holds(&slot.party) <= least));
                prop_assert!(is_job == jobs_first || of_kind(!is_job).next().is_none());
                job_was_last = is_job;
                held.push(slot);
            }
            prop_assert!(held.len() <= count);
            prop_assert!(held.len() == count || waiting.is_empty());
            prop_assert_eq!((slots.busy(), slots.waiting()), (held.len(), waiting.len()));
        }
        drop((waiting, held));
        prop_assert!(slots.lock().parties.is_empty() && slots.lock().free == count);
    }
}
