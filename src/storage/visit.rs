//! Sweeping by a program that only comes by, so that a folder that no service looks after does not grow without end.

use std::fs::{self, File};
use std::io::{self, Write};
use std::path::PathBuf;
use std::time::SystemTime;

use super::{Error, Storage, Swept, age};

/// A file in the folder, as old as the latest sweep of this kind. In it: bytes that are kept, as far as is known.
const MARK: &str = "swept";

impl Storage {
    /// Sweeps a folder, if the latest of these sweeps is as long ago as a service would let it be, or if what was kept
    /// since is too much. For a process that does nothing but convert, at its end. A bucket is left to others: to list
    /// it takes long, and costs money.
    ///
    /// # Errors
    /// What is wrong with the store. Then it is not tried again for as long as after a sweep.
    pub async fn sweep_if_due(&self, now: SystemTime) -> Result<Option<Swept>, Error> {
        let Some(root) = self.0.place.folder.clone() else { return Ok(None) };
        let (added, most, interval) = (self.kept_bytes(), self.0.max_bytes, self.interval());
        let mark = Mark(root.join(MARK));
        let look = mark.clone();
        let due = self.blocking(move |store| {
            let of_store = |error: io::Error| Error::io(store, &error);
            if !root.is_dir() {
                return Ok(false);
            }
            let (swept, kept) = look.read().unwrap_or((SystemTime::UNIX_EPOCH, 0));
            let kept = kept.saturating_add(added);
            // A mark of a clock that was set back since says nothing.
            let due = swept > now || age(swept, now) >= interval || kept > most;
            if due {
                // At once, so that one that fails or is cut off is not tried again and again.
                look.write(0, now).map_err(of_store)?;
            } else if added > 0 {
                look.write(kept, swept).map_err(of_store)?;
            }
            Ok(due)
        });
        if !due.await? {
            return Ok(None);
        }
        let swept = self.sweep(now).await?;
        self.blocking(move |store| {
            mark.write(swept.kept_bytes, now).map_err(|error| Error::io(store, &error))
        })
        .await?;
        Ok(Some(swept))
    }
}

#[derive(Clone)]
struct Mark(PathBuf);

impl Mark {
    /// `None`: there is none, or nobody can read it.
    fn read(&self) -> Option<(SystemTime, u64)> {
        let kept = fs::read_to_string(&self.0).ok()?.trim().parse().ok()?;
        Some((fs::metadata(&self.0).ok()?.modified().ok()?, kept))
    }

    fn write(&self, kept: u64, swept: SystemTime) -> io::Result<()> {
        let mut file = File::create(&self.0)?;
        writeln!(file, "{kept}")?;
        file.set_modified(swept)
    }
}
