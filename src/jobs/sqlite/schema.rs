//! The tables, and how they come from one version to the next.

use rusqlite::{Connection, TransactionBehavior};

use super::statements::number;

/// The steps from an empty file to the current tables. A step that was released never changes.
const MIGRATIONS: [&str; 1] = [include_str!("migrations/1.sql")];

/// Tells the file from those of other programs: "MESH".
const APPLICATION_ID: i64 = 0x4d45_5348;

/// Returns why this program must not use the file, if it must not. It begins with a verb.
pub fn refusal(connection: &Connection) -> rusqlite::Result<Option<String>> {
    let version = number(connection, "PRAGMA user_version")?;
    let is_empty = number(connection, "SELECT count(*) FROM sqlite_schema")? == 0;
    if !is_empty && number(connection, "PRAGMA application_id")? != APPLICATION_ID {
        return Ok(Some("is the database of another program; set DATA_DIR elsewhere".to_owned()));
    }
    let newest = MIGRATIONS.len();
    Ok((version > newest as i64).then(|| {
        format!(
            "was written by a newer Meshgate (version {version} of its tables; this program knows {newest}); use that \
             one, or set DATA_DIR elsewhere"
        )
    }))
}

/// Brings the tables to the current version, one transaction for each step. Processes that start at the same time take
/// turns.
pub fn migrate(connection: &mut Connection) -> rusqlite::Result<()> {
    loop {
        let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let version = number(&transaction, "PRAGMA user_version")?;
        let step = usize::try_from(version).ok().and_then(|version| MIGRATIONS.get(version));
        let Some(step) = step else { return Ok(()) };
        transaction.execute_batch(step)?;
        transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
        transaction.pragma_update(None, "user_version", version + 1)?;
        transaction.commit()?;
    }
}

/// Ends all leases, pauses and reservations if the machine was started since they began, since its clock began anew.
/// Webhooks that wait for another attempt are due.
pub fn end_leases_of_other_boots(connection: &mut Connection, boot: &str) -> rusqlite::Result<()> {
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
    if transaction.execute("UPDATE meta SET boot = ?1 WHERE boot <> ?1", [boot])? == 0 {
        return Ok(());
    }
    transaction.execute_batch(
        "UPDATE jobs SET leased_until = 0 WHERE state = 'running';
         UPDATE jobs SET paused_until = 0 WHERE paused_until IS NOT NULL;
         UPDATE deliveries SET due_from = 0 WHERE due_from IS NOT NULL;
         DELETE FROM keys WHERE job IS NULL;",
    )?;
    transaction.commit()
}
