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
    /// The number of the latest attempt.
    pub token: u64,
    /// When its lease ends, if it is running.
    pub leased_until: Option<u64>,
    pub job: Job,
    /// The state that is written.
    written: State,
}

/// The numbers of a job that do not need its JSON.
#[derive(Debug)]
pub struct Outline {
    pub seq: i64,
    pub id: Uuid,
    pub client: i64,
    pub state: State,
    /// Of the model.
    pub bytes: i64,
    pub files: usize,
    pub token: u64,
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
        written: job.state,
        job,
    })
}

/// Reads the columns `seq, id, client, state, bytes, files, token`.
pub fn read_outline(row: &Row<'_>) -> rusqlite::Result<Outline> {
    Ok(Outline {
        seq: row.get(0)?,
        id: row.get(1)?,
        client: row.get(2)?,
        state: row.get(3)?,
        bytes: row.get(4)?,
        files: row.get(5)?,
        token: row.get(6)?,
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

/// Writes a queued job of this client for the first time.
pub fn insert(sql: &Connection, client: i64, job: &Job, changed: i64, origin: i64) -> rusqlite::Result<()> {
    let bytes = job.spec.bytes();
    execute(
        sql,
        "INSERT INTO jobs
             (id, client, state, rank, bytes, files, version, created_at, expires_at, changed, origin, events)
         VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10, ?11, ?12)",
        params![
            job.id,
            client,
            job.state,
            rank(job.spec.priority, false),
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
    count(sql, client, job.state, 1, bytes as i64)
}

impl Record {
    /// Writes the job after a change. A job that is queued now was given back.
    pub fn write(&mut self, sql: &Connection, changed: i64, origin: i64) -> rusqlite::Result<()> {
        let job = &self.job;
        let rank = (job.state == State::Queued).then(|| rank(job.spec.priority, true));
        execute(
            sql,
            "UPDATE jobs SET
                 state = ?2, rank = ?3, version = ?4, token = ?5, leased_until = ?6, attempts = ?7,
                 memory_factor = ?8, cancel_requested = ?9, started_at = ?10, ended_at = ?11, expires_at = ?12,
                 progress = ?13, result = ?14, error = ?15, events = ?16, deliveries = ?17, changed = ?18,
                 origin = ?19
             WHERE seq = ?1",
            params![
                self.seq,
                job.state,
                rank,
                job.version,
                self.token,
                self.leased_until,
                job.attempts,
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
        recount(sql, self.client, bytes, self.written, job.state)?;
        self.written = job.state;
        Ok(())
    }
}

impl Outline {
    pub fn by_id(sql: &Connection, id: Uuid) -> rusqlite::Result<Option<Self>> {
        let statement = "SELECT seq, id, client, state, bytes, files, token FROM jobs WHERE id = ?1";
        find(sql, statement, [id], read_outline)
    }

    pub fn by_seq(sql: &Connection, seq: i64) -> rusqlite::Result<Self> {
        let statement = "SELECT seq, id, client, state, bytes, files, token FROM jobs WHERE seq = ?1";
        sql.prepare_cached(statement)?.query_row([seq], read_outline)
    }

    /// Removes the job from everything.
    pub fn remove(&self, sql: &Connection) -> rusqlite::Result<()> {
        execute(sql, "DELETE FROM jobs WHERE seq = ?1", [self.seq])?;
        execute(sql, "UPDATE clients SET jobs = jobs - 1 WHERE id = ?1", [self.client])?;
        count(sql, self.client, self.state, -1, -self.bytes)
    }
}

/// The place of a queued job among those of its client: normal before low priority, and of each, those that were given
/// back first.
fn rank(priority: Priority, given_back: bool) -> u8 {
    match (priority, given_back) {
        (Priority::Normal, true) => 0,
        (Priority::Normal, false) => 1,
        (Priority::Low, true) => 2,
        (Priority::Low, false) => 3,
    }
}

/// Counts a job of a client in another state.
pub fn recount(
    sql: &Connection,
    client: i64,
    bytes: i64,
    before: State,
    after: State,
) -> rusqlite::Result<()> {
    if before == after {
        return Ok(());
    }
    count(sql, client, before, -1, -bytes)?;
    count(sql, client, after, 1, bytes)
}

/// Adds jobs in a state, which belong to one client, to what is counted.
fn count(sql: &Connection, client: i64, state: State, jobs: i64, bytes: i64) -> rusqlite::Result<()> {
    let counts = "UPDATE counts SET jobs = jobs + ?2, bytes = bytes + ?3 WHERE state = ?1";
    execute(sql, counts, params![state, jobs, bytes])?;
    let clients = match state {
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
