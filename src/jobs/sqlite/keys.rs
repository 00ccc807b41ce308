//! Keys for idempotency: reserved while a request is received, and then used for its job.

use rusqlite::{Row, params};
use uuid::Uuid;

use super::record;
use super::statements::{execute, find};
use super::step::Step;
use crate::jobs::queue::{
    IDEMPOTENCY_LIFE, Idempotency, Key, RESERVATION_LIFE, Refusal, Reservation, Submission,
};

/// The state of a key that is not free.
enum Known {
    Reserved { token: Uuid },
    Used { job: Uuid, fingerprint: [u8; 32] },
}

/// A row, which may have expired.
struct Found {
    token: Uuid,
    reserved_until: u64,
    /// The job, the hash of the content, and when the row is to be forgotten.
    used: Option<(Uuid, [u8; 32], u64)>,
}

impl Step<'_> {
    pub fn reserve(&mut self, key: &Key, token: Uuid) -> rusqlite::Result<Reservation> {
        match self.look_up(key)? {
            Some(Known::Reserved { token: other }) if other != token => Ok(Reservation::InFlight),
            Some(Known::Used { .. }) => Ok(Reservation::Reserved),
            Some(Known::Reserved { .. }) | None => {
                execute(
                    self.sql,
                    "INSERT OR REPLACE INTO keys (client, path, key, token, reserved_until)
                     VALUES (?1, ?2, ?3, ?4, ?5)",
                    params![
                        key.client.to_string(),
                        key.path,
                        key.key,
                        token,
                        self.uptime.saturating_add(RESERVATION_LIFE.as_millis() as u64),
                    ],
                )?;
                Ok(Reservation::Reserved)
            }
        }
    }

    pub fn release(&mut self, key: &Key, token: Uuid) -> rusqlite::Result<()> {
        execute(
            self.sql,
            "DELETE FROM keys WHERE client = ?1 AND path = ?2 AND key = ?3 AND job IS NULL AND token = ?4",
            params![key.client.to_string(), key.path, key.key, token],
        )?;
        Ok(())
    }

    /// Returns the answer to a submission with this key, if the key decides about it.
    pub fn answer_by_key(&mut self, idempotency: &Idempotency) -> rusqlite::Result<Option<Submission>> {
        let refused = |refusal| Ok(Some(Submission::Refused(refusal)));
        match self.look_up(&idempotency.key)? {
            Some(Known::Reserved { token }) if token != idempotency.token => refused(Refusal::KeyInFlight),
            Some(Known::Used { fingerprint, .. }) if fingerprint != *idempotency.fingerprint.as_bytes() => {
                refused(Refusal::KeyReused)
            }
            Some(Known::Used { job, .. }) => {
                // If the job was removed, there is nothing to replay.
                Ok(record::by_id(self.sql, job)?.map(|record| Submission::Replayed(record.job)))
            }
            Some(Known::Reserved { .. }) | None => Ok(None),
        }
    }

    /// Notes that a key was used for a job.
    pub fn use_key(&mut self, idempotency: &Idempotency, job: Uuid) -> rusqlite::Result<()> {
        let Idempotency { key, token, fingerprint } = idempotency;
        execute(
            self.sql,
            "INSERT OR REPLACE INTO keys
                 (client, path, key, token, reserved_until, job, fingerprint, expires_at)
             VALUES (?1, ?2, ?3, ?4, 0, ?5, ?6, ?7)",
            params![
                key.client.to_string(),
                key.path,
                key.key,
                token,
                job,
                fingerprint.as_bytes(),
                self.now.plus(IDEMPOTENCY_LIFE),
            ],
        )?;
        Ok(())
    }

    /// Returns the state of a key; `None` if it is free. A key outlives its job.
    fn look_up(&self, key: &Key) -> rusqlite::Result<Option<Known>> {
        let found = find(
            self.sql,
            "SELECT token, reserved_until, job, fingerprint, expires_at FROM keys
             WHERE client = ?1 AND path = ?2 AND key = ?3",
            params![key.client.to_string(), key.path, key.key],
            read,
        )?;
        let Some(found) = found else { return Ok(None) };
        let Some((job, fingerprint, expires_at)) = found.used else {
            let is_held = found.reserved_until > self.uptime;
            return Ok(is_held.then_some(Known::Reserved { token: found.token }));
        };
        let is_kept = expires_at > self.now.0;
        Ok(is_kept.then_some(Known::Used { job, fingerprint }))
    }
}

fn read(row: &Row<'_>) -> rusqlite::Result<Found> {
    let used = match row.get::<_, Option<Uuid>>(2)? {
        Some(job) => Some((job, row.get(3)?, row.get(4)?)),
        None => None,
    };
    Ok(Found { token: row.get(0)?, reserved_until: row.get(1)?, used })
}
