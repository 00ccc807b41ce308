//! stub
use super::*;
use crate::domain::Client;
use uuid::Uuid;
pub struct SqliteQueue;
impl SqliteQueue {
    pub fn open(_: &std::path::Path, _: Limits) -> Result<Self, String> {
        Err("".into())
    }
    pub fn open_with_lease(_: &std::path::Path, _: Limits, _: std::time::Duration) -> Result<Self, String> {
        Err("".into())
    }
}
impl Queue for SqliteQueue {
    fn name(&self) -> &str {
        ""
    }
    fn reserve<'a>(&'a self, _: &'a Key, _: Uuid) -> Pending<'a, Reservation> {
        todo!()
    }
    fn release<'a>(&'a self, _: &'a Key, _: Uuid) -> Pending<'a, ()> {
        todo!()
    }
    fn submit(&self, _: NewJob) -> Pending<'_, Submission> {
        todo!()
    }
    fn job(&self, _: Uuid) -> Pending<'_, Option<Job>> {
        todo!()
    }
    fn position(&self, _: Uuid) -> Pending<'_, Option<u64>> {
        todo!()
    }
    fn list<'a>(&'a self, _: &'a Client, _: Option<State>, _: Option<Uuid>, _: usize) -> Pending<'a, Page> {
        todo!()
    }
    fn take<'a>(&'a self, _: &'a str) -> Pending<'a, Option<Claim>> {
        todo!()
    }
    fn renew(&self, _: Uuid, _: u64, _: Option<Progress>) -> Pending<'_, Hold> {
        todo!()
    }
    fn finish(&self, _: Uuid, _: u64, _: End) -> Pending<'_, bool> {
        todo!()
    }
    fn give_back(&self, _: Uuid, _: u64, _: GiveBack) -> Pending<'_, bool> {
        todo!()
    }
    fn cancel(&self, _: Uuid) -> Pending<'_, Option<Job>> {
        todo!()
    }
    fn remove(&self, _: Uuid) -> Pending<'_, Option<Removed>> {
        todo!()
    }
    fn sweep(&self) -> Pending<'_, Swept> {
        todo!()
    }
    fn unknown<'a>(&'a self, _: &'a [Uuid]) -> Pending<'a, Vec<Uuid>> {
        todo!()
    }
    fn stats(&self) -> Pending<'_, Stats> {
        todo!()
    }
    fn take_delivery(&self) -> Pending<'_, Option<Delivery>> {
        todo!()
    }
    fn end_attempt<'a>(&'a self, _: &'a Delivery, _: Attempt, _: NextAttempt) -> Pending<'a, bool> {
        todo!()
    }
    fn redeliver(&self, _: Uuid) -> Pending<'_, bool> {
        todo!()
    }
    fn hints(&self) -> tokio::sync::broadcast::Receiver<Hint> {
        todo!()
    }
}
