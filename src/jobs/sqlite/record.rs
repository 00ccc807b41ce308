//! Jobs as rows: how they are read, written and counted.

use rusqlite::types::{FromSql, FromSqlError, FromSqlResult, ToSql, ToSqlOutput, ValueRef};
use rusqlite::{Connection, Error, Row, params};
use serde::Serialize;
use serde::de::DeserializeOwned;
use uuid::Uuid;

use super::statements::{execute, find};
use crate::jobs::job::{Job, Priority, State, Timestamp};

/// A job, and what only the queue knows of it.
#[derive(Debug)]
pub struct Record {
    pub seq: i64,
    pub client: i64,
    /// The token of the latest attempt; 0 before the first.
    pub token: u64,
    /// When its lease ends, if it is running.
    pub leased_until: Option<u64>,
    /// When its pause ends, if it is queued and paused.
    pub paused_until: Option<u64>,
    /// Attempts that lost their worker.
    pub workers_lost: u32,
    pub job: Job,
    /// How it is counted in the file.
    counted: Counted,
}

/// What the numbers of jobs depend on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Counted {
    pub state: State,
    /// Whether it has a place, so that a worker may take it.
    pub is_waiting: bool,
}

/// The numbers of a job that do not need its JSON.
#[derive(Debug)]
pub struct Outline {
    pub seq: i64,
    pub id: Uuid,
    pub client: i64,
    pub counted: Counted,
    pub bytes: i64,
    /// Files of the model.
    pub files: usize,
}

pub fn by_id(sql: &Connection, id: Uuid) -> rusqlite::Result<Option<Record>> {
    find(sql, "SELECT * FROM records WHERE id = ?1", [id], read)
}

pub fn by_seq(sql: &Connection, seq: i64) -> rusqlite::Result<Record> {
    sql.prepare_cached("SELECT * FROM records WHERE seq = ?1")?.query_row([seq], read)
}

/// Reads a row of `records`.
pub fn read(row: &Row<'_>) -> rusqlite::Result<Record> {
    let job = Job {
        id: row.get("id")?,
        spec: json(row, "spec")?,
        state: row.get("state")?,
        version: row.get("version")?,
        created_at: row.get("created_at")?,
        started_at: row.get("started_at")?,
        ended_at: row.get("ended_at")?,
        expires_at: row.get("expires_at")?,
        attempts: row.get("attempts")?,
        progress: optional_json(row, "progress")?,
        result: optional_json(row, "result")?,
        error: optional_json(row, "error")?,
        cancel_requested: row.get("cancel_requested")?,
        memory_factor: row.get("memory_factor")?,
        events: json(row, "events")?,
        deliveries: json(row, "deliveries")?,
    };
    Ok(Record {
        seq: row.get("seq")?,
        client: row.get("client")?,
        token: row.get("token")?,
        leased_until: row.get("leased_until")?,
        paused_until: row.get("paused_until")?,
        workers_lost: row.get("workers_lost")?,
        counted: Counted { state: job.state, is_waiting: row.get::<_, Option<i64>>("place")?.is_some() },
        job,
    })
}

/// Reads the columns `seq, id, client, state, place IS NOT NULL, bytes, files`.
pub fn read_outline(row: &Row<'_>) -> rusqlite::Result<Outline> {
    Ok(Outline {
        seq: row.get(0)?,
        id: row.get(1)?,
        client: row.get(2)?,
        counted: Counted { state: row.get(3)?, is_waiting: row.get(4)? },
        bytes: row.get(5)?,
        files: row.get(6)?,
    })
}

/// Whether another version of this program must have written the row, or somebody has changed it by hand.
pub fn is_unreadable(error: &Error) -> bool {
    matches!(
        error,
        Error::FromSqlConversionFailure(..)
            | Error::InvalidColumnType(..)
            | Error::IntegralValueOutOfRange(..)
            | Error::Utf8Error(..)
    )
}

/// Writes a queued job of this client for the first time, behind the others.
pub fn insert(sql: &Connection, client: i64, job: &Job, changed: i64, origin: i64) -> rusqlite::Result<()> {
    let bytes = job.spec.bytes();
    execute(
        sql,
        "INSERT INTO jobs
             (id, client, state, rank, bytes, files, version, created_at, expires_at, changed, place, origin,
              events)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?10, ?11, ?12)",
        params![
            job.id,
            client,
            job.state,
            rank(job.spec.priority),
            bytes,
            job.spec.input.len(),
            job.version,
            job.created_at,
            job.expires_at,
            changed,
            origin,
            Json(&job.events),
        ],
    )?;
    let seq = sql.last_insert_rowid();
    execute(sql, "INSERT INTO specs (seq, spec) VALUES (?1, ?2)", params![seq, Json(&job.spec)])?;
    execute(sql, "UPDATE clients SET jobs = jobs + 1 WHERE id = ?1", [client])?;
    count(sql, client, Counted { state: job.state, is_waiting: true }, 1, bytes as i64)
}

impl Record {
    /// Writes the job after a change.
    pub fn write(&mut self, sql: &Connection, changed: i64, origin: i64) -> rusqlite::Result<()> {
        let job = &self.job;
        let counted = Counted {
            state: job.state,
            is_waiting: job.state == State::Queued && self.paused_until.is_none(),
        };
        // A job that waits now was given back, and goes before the others.
        let place = counted.is_waiting.then_some(-changed);
        execute(
            sql,
            "UPDATE jobs SET
                 state = ?2, place = ?3, version = ?4, token = ?5, leased_until = ?6, paused_until = ?7,
                 attempts = ?8, workers_lost = ?9, memory_factor = ?10, cancel_requested = ?11, started_at = ?12,
                 ended_at = ?13, expires_at = ?14, progress = ?15, result = ?16, error = ?17, events = ?18,
                 deliveries = ?19, changed = ?20, origin = ?21
             WHERE seq = ?1",
            params![
                self.seq,
                job.state,
                place,
                job.version,
                self.token,
                self.leased_until,
                self.paused_until,
                job.attempts,
                self.workers_lost,
                job.memory_factor,
                job.cancel_requested,
                job.started_at,
                job.ended_at,
                job.expires_at,
                job.progress.map(Json),
                job.result.as_ref().map(Json),
                job.error.as_ref().map(Json),
                Json(&job.events),
                Json(&job.deliveries),
                changed,
                origin,
            ],
        )?;
        let bytes = job.spec.bytes() as i64;
        recount(sql, self.client, bytes, self.counted, counted)?;
        self.counted = counted;
        Ok(())
    }
}

impl Outline {
    pub fn by_id(sql: &Connection, id: Uuid) -> rusqlite::Result<Option<Self>> {
        find(
            sql,
            "SELECT seq, id, client, state, place IS NOT NULL, bytes, files FROM jobs WHERE id = ?1",
            [id],
            read_outline,
        )
    }

    pub fn by_seq(sql: &Connection, seq: i64) -> rusqlite::Result<Self> {
        let statement =
            "SELECT seq, id, client, state, place IS NOT NULL, bytes, files FROM jobs WHERE seq = ?1";
        sql.prepare_cached(statement)?.query_row([seq], read_outline)
    }

    /// Removes the job from everything.
    pub fn remove(&self, sql: &Connection) -> rusqlite::Result<()> {
        execute(sql, "DELETE FROM jobs WHERE seq = ?1", [self.seq])?;
        execute(sql, "UPDATE clients SET jobs = jobs - 1 WHERE id = ?1", [self.client])?;
        count(sql, self.client, self.counted, -1, -self.bytes)
    }
}

/// Jobs of a lower rank go before all others of their client.
fn rank(priority: Priority) -> i8 {
    match priority {
        Priority::Request => -1,
        Priority::Normal => 0,
        Priority::Low => 1,
    }
}

/// Counts a job of a client in another way.
pub fn recount(
    sql: &Connection,
    client: i64,
    bytes: i64,
    before: Counted,
    after: Counted,
) -> rusqlite::Result<()> {
    if before == after {
        return Ok(());
    }
    count(sql, client, before, -1, -bytes)?;
    count(sql, client, after, 1, bytes)
}

/// Adds jobs, which belong to one client and are counted in the same way, to the numbers.
fn count(sql: &Connection, client: i64, counted: Counted, jobs: i64, bytes: i64) -> rusqlite::Result<()> {
    let counts = "UPDATE counts SET jobs = jobs + ?2, bytes = bytes + ?3 WHERE state = ?1";
    execute(sql, counts, params![counted.state, jobs, bytes])?;
    let clients = match counted.state {
        State::Queued if counted.is_waiting => {
            "UPDATE clients SET queued = queued + ?2, waiting = waiting + ?2, bytes = bytes + ?3 WHERE id = ?1"
        }
        State::Queued => "UPDATE clients SET queued = queued + ?2, bytes = bytes + ?3 WHERE id = ?1",
        State::Running => "UPDATE clients SET running = running + ?2, bytes = bytes + ?3 WHERE id = ?1",
        State::Succeeded | State::Failed | State::Cancelled | State::Expired => return Ok(()),
    };
    execute(sql, clients, params![client, jobs, bytes])?;
    Ok(())
}

fn json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<T> {
    row.get::<_, Json<T>>(column).map(|Json(value)| value)
}

fn optional_json<T: DeserializeOwned>(row: &Row<'_>, column: &str) -> rusqlite::Result<Option<T>> {
    Ok(row.get::<_, Option<Json<T>>>(column)?.map(|Json(value)| value))
}

/// A value that is written as JSON.
pub struct Json<T>(pub T);

impl<T: Serialize> ToSql for Json<T> {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        let text = serde_json::to_string(&self.0);
        text.map(ToSqlOutput::from).map_err(|error| Error::ToSqlConversionFailure(error.into()))
    }
}

impl<T: DeserializeOwned> FromSql for Json<T> {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        serde_json::from_str(value.as_str()?).map(Json).map_err(FromSqlError::other)
    }
}

impl ToSql for State {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        Ok(ToSqlOutput::from(self.word()))
    }
}

impl FromSql for State {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        State::from_word(value.as_str()?).ok_or(FromSqlError::InvalidType)
    }
}

impl ToSql for Timestamp {
    fn to_sql(&self) -> rusqlite::Result<ToSqlOutput<'_>> {
        self.0.to_sql()
    }
}

impl FromSql for Timestamp {
    fn column_result(value: ValueRef<'_>) -> FromSqlResult<Self> {
        u64::column_result(value).map(Timestamp)
    }
}
