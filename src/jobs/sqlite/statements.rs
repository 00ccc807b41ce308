//! Statements, which each connection prepares once.

use rusqlite::{Connection, OptionalExtension, Params, Row};

/// Runs a statement; returns how many rows it has changed.
pub fn execute(sql: &Connection, statement: &str, params: impl Params) -> rusqlite::Result<usize> {
    sql.prepare_cached(statement)?.execute(params)
}

/// Returns the first row, if there is one.
pub fn find<T>(
    sql: &Connection,
    statement: &str,
    params: impl Params,
    read: impl FnOnce(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Option<T>> {
    sql.prepare_cached(statement)?.query_row(params, read).optional()
}

/// Returns all rows.
pub fn all<T>(
    sql: &Connection,
    statement: &str,
    params: impl Params,
    read: impl FnMut(&Row<'_>) -> rusqlite::Result<T>,
) -> rusqlite::Result<Vec<T>> {
    let mut statement = sql.prepare_cached(statement)?;
    let rows = statement.query_map(params, read)?;
    rows.collect()
}

/// Returns the one number that a statement without parameters finds.
pub fn number(sql: &Connection, statement: &str) -> rusqlite::Result<i64> {
    sql.prepare_cached(statement)?.query_row([], |row| row.get(0))
}
