//! Describes the file, for `meshgate doctor`.

use std::path::Path;

use super::connection::{self, sentence};
use super::statements::number;

/// Opens the file as the queue does, and says what it is. A missing file is not made.
///
/// # Errors
/// A sentence, when the queue cannot use the file.
pub fn examine_file(path: &Path) -> Result<String, String> {
    let shown = path.display();
    match path.try_exists() {
        Ok(true) => {}
        Ok(false) => return Ok(format!("{shown} will be made when the server starts")),
        Err(error) => return Err(format!("could not look for {shown}: {error}")),
    }
    let sql = connection::open(path)?;
    let version = number(&sql, "PRAGMA user_version").map_err(|error| sentence(path, &error))?;
    let mode = sql.query_row("PRAGMA journal_mode", [], |row| row.get::<_, String>(0));
    let mode = mode.map_err(|error| sentence(path, &error))?;
    let sqlite = rusqlite::version();
    Ok(format!("{shown}, tables of version {version}, journal mode {mode}, SQLite {sqlite}"))
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::jobs::sqlite::schema;

    #[test]
    fn a_file_is_described_and_a_missing_one_is_not_made() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.sqlite");
        assert!(examine_file(&path).unwrap().ends_with("jobs.sqlite will be made when the server starts"));
        assert!(!path.exists());
        schema::migrate(&mut connection::open(&path).unwrap()).unwrap();
        let found = examine_file(&path).unwrap();
        assert!(found.contains(", tables of version 1, journal mode wal, SQLite 3."), "{found}");
    }

    #[test]
    fn a_file_that_the_queue_refuses_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("jobs.sqlite");
        fs::write(&path, b"no database\n".repeat(1000)).unwrap();
        let error = examine_file(&path).unwrap_err();
        assert!(error.contains("is not a SQLite database"), "{error}");
    }
}
