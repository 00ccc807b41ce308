//! Daily log files, and the removal of old ones.
//!
//! The folder may hold files of other programs: only files named exactly `STEM.YYYY-MM-DD.EXTENSION` are ever removed.
//! Several processes may write to the same files.

use std::fs;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use time::{Date, OffsetDateTime, format_description};
use tracing_appender::rolling::{InitError, RollingFileAppender, Rotation};

use crate::fs::open::folder_of;

/// The names of the log files, and how many to keep.
#[derive(Debug, Clone)]
pub struct DailyFiles {
    folder: PathBuf,
    stem: String,
    extension: Option<String>,
    kept: usize,
}

impl DailyFiles {
    /// Names the files after `path`: `log/gateway.log` becomes `log/gateway.2026-01-31.log`. `None` if `path` has no
    /// file name in UTF-8.
    pub fn new(path: &Path, kept: usize) -> Option<DailyFiles> {
        let part = |part: Option<&std::ffi::OsStr>| part?.to_str().map(str::to_owned);
        let (stem, extension) = (part(path.file_stem())?, part(path.extension()));
        Some(DailyFiles { folder: folder_of(path).to_owned(), stem, extension, kept: kept.max(1) })
    }

    /// Opens today's file.
    ///
    /// # Errors
    /// When the file cannot be opened.
    pub fn writer(&self) -> Result<Writer, InitError> {
        // Its own removal of old files is not used: it matches only prefix and suffix, and so other programs' files.
        let mut files = RollingFileAppender::builder().rotation(Rotation::DAILY).filename_prefix(&self.stem);
        if let Some(extension) = &self.extension {
            files = files.filename_suffix(extension);
        }
        Ok(Writer { files: files.build(&self.folder)?, days: self.clone(), day: today() })
    }

    /// The path of today's file.
    pub fn current(&self) -> PathBuf {
        let extension = self.extension.as_ref().map(|extension| format!(".{extension}")).unwrap_or_default();
        self.folder.join(format!("{}.{}{extension}", self.stem, today()))
    }

    /// Removes the oldest files if there are too many.
    pub fn remove_old(&self) {
        let mut files = match self.old(today()) {
            Ok(files) => files,
            Err(error) => {
                tracing::warn!(folder = %self.folder.display(), %error, "could not list old log files");
                return;
            }
        };
        files.sort_by_key(|(day, _)| std::cmp::Reverse(*day));
        for (_, path) in files.iter().skip(self.kept) {
            // Another process may have removed it.
            if let Err(error) = fs::remove_file(path)
                && error.kind() != io::ErrorKind::NotFound
            {
                tracing::warn!(path = %path.display(), %error, "could not remove an old log file");
            }
        }
    }

    /// Files up to today. Skips later dates: a process with another clock may write to them.
    fn old(&self, today: Date) -> io::Result<Vec<(Date, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.folder)? {
            let entry = entry?;
            let day = entry.file_name().to_str().and_then(|name| self.day(name)).filter(|day| *day <= today);
            if let Some(day) = day
                && entry.file_type().is_ok_and(|kind| kind.is_file())
            {
                found.push((day, entry.path()));
            }
        }
        Ok(found)
    }

    /// The day in a file name, if it is one of these files.
    fn day(&self, name: &str) -> Option<Date> {
        let mut text = name.strip_prefix(self.stem.as_str())?.strip_prefix('.')?;
        if let Some(extension) = &self.extension {
            text = text.strip_suffix(extension.as_str())?.strip_suffix('.')?;
        }
        let format = format_description::parse_borrowed::<2>("[year]-[month]-[day]").ok()?;
        // The parser also accepts a signed year.
        Date::parse(text, &format).ok().filter(|day| day.to_string() == text)
    }
}

/// Today in UTC, as in the file names.
fn today() -> Date {
    OffsetDateTime::now_utc().date()
}

/// Writes to today's file, and switches files at midnight UTC.
#[derive(Debug)]
pub struct Writer {
    files: RollingFileAppender,
    days: DailyFiles,
    /// The day of the last line.
    day: Date,
}

impl Write for Writer {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        // Read the date before writing: if it is a new day, the write has surely created that day's file.
        let today = today();
        let written = self.files.write(line)?;
        if today != self.day {
            self.day = today;
            self.days.remove_old();
        }
        Ok(written)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.files.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    fn names(folder: &Path) -> BTreeSet<String> {
        let names = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name());
        names.map(|name| name.into_string().unwrap()).collect()
    }

    /// Writes the first line of a day among the files `there`; returns the names removed and added.
    fn removed(path: &str, kept: usize, there: &[&str]) -> (Vec<String>, Vec<String>) {
        let folder = tempfile::tempdir().unwrap();
        for name in there {
            fs::write(folder.path().join(name), "").unwrap();
        }
        let before = names(folder.path());
        let days = DailyFiles::new(&folder.path().join(path), kept).unwrap();
        let mut writer = days.writer().unwrap();
        writer.write_all(b"a line\n").unwrap();
        assert!(names(folder.path()).is_superset(&before), "the day is the same");
        writer.day = writer.day.previous_day().unwrap();
        writer.write_all(b"a line\n").unwrap();
        let after = names(folder.path());
        assert_eq!(fs::read_to_string(days.current()).unwrap(), "a line\na line\n");
        (before.difference(&after).cloned().collect(), after.difference(&before).cloned().collect())
    }

    #[test]
    fn the_oldest_log_files_are_removed() {
        let there = ["app.2020-02-29.log", "app.2019-12-31.log", "app.2020-01-01.log", "app.9999-12-31.log"];
        let new = vec![format!("app.{}.log", today())];
        assert_eq!(removed("app.log", 4, &there), (vec![], new.clone()));
        assert_eq!(removed("app.log", 3, &there), (vec!["app.2019-12-31.log".to_owned()], new.clone()));
        let (gone, made) = removed("app.log", 1, &there);
        assert_eq!((gone.len(), made), (3, new));
        let (gone, _) = removed("app", 1, &["app.2020-02-29", "app.2020-02-29.log"]);
        assert_eq!(gone, ["app.2020-02-29"]);
    }

    #[test]
    fn files_of_other_programs_are_kept() {
        let there = [
            "application.log",
            "app.log",
            "app.1.log",
            "app.log.1",
            "app.2020-02-29",
            "app.2020-02-29.log.gz",
            "app.2020-02-30.log",
            "app.2020-2-3.log",
            "app.20200203.log",
            "app.+2020-02-03.log",
            "app.x2020-02-03.log",
            "app.2020-02-03xlog",
            "app-2020-02-03.log",
            "app.2020-02-03.1.log",
            "myapp.2020-02-03.log",
            "app2.2020-02-03.log",
        ];
        assert_eq!(removed("app.log", 1, &there).0, [""; 0]);
        let there = ["messages", "mail.err", "m", "m.1", "m.2020-02-03.log", "mail.2020-02-03"];
        assert_eq!(removed("m", 1, &there).0, [""; 0]);
    }

    #[test]
    fn folders_and_links_are_kept() {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        fs::create_dir(at("app.2020-01-01.log")).unwrap();
        std::os::unix::fs::symlink("elsewhere", at("app.2020-01-02.log")).unwrap();
        fs::write(at("app.2020-01-03.log"), "").unwrap();
        fs::write(at("app.2020-01-04.log"), "").unwrap();
        DailyFiles::new(&at("app.log"), 1).unwrap().remove_old();
        let left = ["app.2020-01-01.log", "app.2020-01-02.log", "app.2020-01-04.log"];
        assert_eq!(names(folder.path()), left.map(str::to_owned).into());
    }

    #[test]
    fn a_log_path_without_a_name_is_refused() {
        for path in ["/", "..", "log/..", ""] {
            assert!(DailyFiles::new(Path::new(path), 1).is_none(), "{path}");
        }
    }
}
