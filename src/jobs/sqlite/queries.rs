//! Queries: they change nothing.

use rusqlite::{Connection, params};
use uuid::Uuid;

use super::record::{self, is_unreadable};
use super::statements::{all, find, number};
use crate::jobs::job::{Job, State};
use crate::jobs::queue::{Claim, Page, Stats};

pub fn job(sql: &Connection, id: Uuid) -> rusqlite::Result<Option<Job>> {
    Ok(record::by_id(sql, id)?.map(|record| record.job))
}

/// Returns a running job, and the token of its attempt.
pub fn claim(sql: &Connection, id: Uuid) -> rusqlite::Result<Option<Claim>> {
    let running = record::by_id(sql, id)?.filter(|record| record.job.state == State::Running);
    Ok(running.map(|record| Claim { token: record.token, job: record.job }))
}

pub fn position(sql: &Connection, id: Uuid) -> rusqlite::Result<Option<u64>> {
    // Two counts, because each is a range of the index.
    find(
        sql,
        "SELECT
             (SELECT count(*) FROM jobs AS other
              WHERE other.client = jobs.client AND other.rank < jobs.rank AND other.place IS NOT NULL)
             + (SELECT count(*) FROM jobs AS other
                WHERE other.client = jobs.client AND other.rank = jobs.rank AND other.place <= jobs.place)
         FROM jobs WHERE id = ?1 AND place IS NOT NULL",
        [id],
        |row| row.get(0),
    )
}

/// `client`: its unique text.
pub fn list(
    sql: &Connection,
    client: &str,
    state: Option<State>,
    before: Option<Uuid>,
    size: usize,
) -> rusqlite::Result<Page> {
    // Every ID is less than the largest UUID. One more row shows whether there are more jobs.
    let (before, most) = (before.unwrap_or(Uuid::max()), (size as i64).saturating_add(1));
    let mut statement = sql.prepare_cached(match state {
        None => {
            "SELECT * FROM records WHERE client = (SELECT id FROM clients WHERE name = ?1) AND id < ?2
             ORDER BY id DESC LIMIT ?3"
        }
        Some(_) => {
            "SELECT * FROM records WHERE client = (SELECT id FROM clients WHERE name = ?1) AND id < ?2
             AND state = ?4 ORDER BY id DESC LIMIT ?3"
        }
    })?;
    let mut rows = match state {
        None => statement.query(params![client, before, most])?,
        Some(state) => statement.query(params![client, before, most, state])?,
    };
    let mut page = Page::default();
    let mut count = 0;
    while let Some(row) = rows.next()? {
        if count == size {
            page.next = page.jobs.last().map(|job| job.id);
            break;
        }
        count += 1;
        match record::read(row) {
            Ok(record) => page.jobs.push(record.job),
            // Another version wrote it. One such job must not hide the others.
            Err(error) if is_unreadable(&error) => {}
            Err(error) => return Err(error),
        }
    }
    Ok(page)
}

/// Returns which of these jobs have no record.
pub fn unknown(sql: &Connection, ids: &[Uuid]) -> rusqlite::Result<Vec<Uuid>> {
    let mut statement = sql.prepare_cached("SELECT 1 FROM jobs WHERE id = ?1")?;
    let mut unknown = Vec::new();
    for id in ids {
        if !statement.exists([id])? {
            unknown.push(*id);
        }
    }
    Ok(unknown)
}

pub fn stats(sql: &Connection) -> rusqlite::Result<Stats> {
    // So that all numbers are from the same moment.
    let transaction = sql.unchecked_transaction()?;
    let counted: Vec<(State, u64, u64)> =
        all(&transaction, "SELECT state, jobs, bytes FROM counts", [], |row| {
            Ok((row.get(0)?, row.get(1)?, row.get(2)?))
        })?;
    let jobs =
        State::ALL.map(|state| counted.iter().find(|(of, ..)| *of == state).map_or(0, |found| found.1));
    let unfinished = counted.iter().filter(|(state, ..)| !state.has_ended());
    let oldest = "SELECT min(created_at) FROM jobs WHERE state = 'queued'";
    let oldest_queued_at = transaction.prepare_cached(oldest)?.query_row([], |row| row.get(0))?;
    let deliveries = number(&transaction, "SELECT count(*) FROM deliveries WHERE due_from IS NOT NULL")?;
    Ok(Stats {
        jobs,
        bytes: unfinished.map(|(.., bytes)| bytes).sum(),
        oldest_queued_at,
        deliveries: deliveries as u64,
    })
}
