//! Names of objects: where each lies below the root of the store.

use std::time::{Duration, SystemTime};

use blake3::Hash;
use uuid::Uuid;

pub const BLOBS: &str = "blobs";
pub const REPORTS: &str = "reports";
pub const ENTRIES: &str = "entries";
pub const CHECKS: &str = "check";
pub const JOBS: &str = "jobs";
/// The folders that sweeps empty. Objects of jobs stay as long as the records of the jobs.
pub const ALL: [&str; 4] = [BLOBS, REPORTS, ENTRIES, CHECKS];

const JSON: &str = ".json";

/// The kinds of objects of a job.
const MODEL: &str = "model";
const RESULT: &str = "result";
const REPORT: &str = "report";

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A result, by the BLAKE3 of its bytes.
    Blob(Hash),
    Document(Document),
    Job(JobObject),
}

/// An object of a job, by the job's ID, a UUID of version 7.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum JobObject {
    /// A file of the model, by its place in the list of files.
    Model(Uuid, usize),
    /// The result of an attempt, by the token of its lease.
    Result(Uuid, u64),
    /// The report of an attempt.
    Report(Uuid, u64),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Document {
    /// A report, by its ID, a UUID of version 7.
    Report(Uuid),
    /// An entry of the cache, by the identity of its conversion.
    Entry(Hash),
}

/// The meaning of a path below the root. Paths without one belong to others, and are never touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Key(Key),
    /// An object that is being written or checked, or that a killed process left so.
    Temporary,
}

/// A listed object of ours.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Object {
    /// The path below the root.
    pub path: String,
    pub name: Name,
    pub bytes: u64,
    /// When it was written; for a blob in a folder, when it was last used.
    pub modified: SystemTime,
}

impl Key {
    /// The path below the root, with slashes.
    pub fn path(&self) -> String {
        let (folder, name, end) = match self {
            Key::Blob(hash) => (BLOBS, hash.to_hex(), ""),
            Key::Document(Document::Report(id)) => return format!("{REPORTS}/{id}{JSON}"),
            Key::Document(Document::Entry(identity)) => (ENTRIES, identity.to_hex(), JSON),
            Key::Job(object) => return object.path(),
        };
        // Some file systems are slow with a million files in a folder.
        format!("{folder}/{}/{name}{end}", &name[..2])
    }

    fn parse(path: &str) -> Option<Key> {
        let (folder, rest) = path.split_once('/')?;
        let name = rest.rsplit_once('/').map_or(rest, |(_, name)| name);
        let stem = || name.strip_suffix(JSON);
        let key = match folder {
            BLOBS => Key::Blob(Hash::from_hex(name).ok()?),
            REPORTS => Key::Document(Document::Report(Uuid::try_parse(stem()?).ok()?)),
            ENTRIES => Key::Document(Document::Entry(Hash::from_hex(stem()?).ok()?)),
            JOBS => Key::Job(JobObject::parse(name)?),
            _ => return None,
        };
        // No other spelling of the same key, and no other folder.
        (key.path() == path).then_some(key)
    }
}

impl JobObject {
    /// The ID of the job.
    pub fn job(&self) -> Uuid {
        match self {
            JobObject::Model(id, _) | JobObject::Result(id, _) | JobObject::Report(id, _) => *id,
        }
    }

    fn path(&self) -> String {
        let (id, kind, number) = match *self {
            JobObject::Model(id, number) => (id, MODEL, number as u64),
            JobObject::Result(id, token) => (id, RESULT, token),
            JobObject::Report(id, token) => (id, REPORT, token),
        };
        // The first digits are the time; the last ones are random.
        format!("{JOBS}/{:02x}/{id}.{kind}-{number}", id.as_bytes()[15])
    }

    fn parse(name: &str) -> Option<JobObject> {
        let (id, rest) = name.split_once('.')?;
        let (kind, number) = rest.split_once('-')?;
        let id = Uuid::try_parse(id).ok()?;
        Some(match kind {
            MODEL => JobObject::Model(id, number.parse().ok()?),
            RESULT => JobObject::Result(id, number.parse().ok()?),
            REPORT => JobObject::Report(id, number.parse().ok()?),
            _ => return None,
        })
    }
}

impl Name {
    /// Parses a path below the root.
    pub fn parse(path: &str) -> Option<Name> {
        if let Some(key) = Key::parse(path) {
            return Some(Name::Key(key));
        }
        if let Some(id) = path.strip_prefix(CHECKS).and_then(|rest| rest.strip_prefix('/')) {
            let id = id.split_once('#').map_or(id, |(id, _)| id);
            return Uuid::try_parse(id).is_ok().then_some(Name::Temporary);
        }
        // `local` writes files aside under such names.
        let (path, number) = path.rsplit_once('#')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && Key::parse(path).is_some()).then_some(Name::Temporary)
    }
}

/// The time since `modified`; zero if that is in the future, as after the clock was set back.
pub fn age(modified: SystemTime, now: SystemTime) -> Duration {
    now.duration_since(modified).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_is_found_by_its_path(bytes: [u8; 32], id: u128, number: u64) {
            for key in [
                Key::Blob(bytes.into()),
                Key::Document(Document::Report(Uuid::from_u128(id))),
                Key::Document(Document::Entry(bytes.into())),
                Key::Job(JobObject::Model(Uuid::from_u128(id), number as usize)),
                Key::Job(JobObject::Result(Uuid::from_u128(id), number)),
                Key::Job(JobObject::Report(Uuid::from_u128(id), number)),
            ] {
                let path = key.path();
                prop_assert_eq!(Name::parse(&path), Some(Name::Key(key)));
                let aside = format!("{path}#17");
                prop_assert_eq!(Name::parse(&aside), Some(Name::Temporary));
                for other in [format!("{path}x"), format!("x{path}"), format!("{path}#"), path.to_uppercase()] {
                    prop_assert_eq!(Name::parse(&other), None);
                }
            }
        }

        #[test]
        fn foreign_file_names_are_not_recognised_as_keys(path in "(blobs|reports|entries|check|jobs|x)?/?[0-9a-f]{0,2}/?[0-9a-f#.-]{0,70}(.json)?") {
            if let Some(Name::Key(key)) = Name::parse(&path) {
                prop_assert_eq!(key.path(), path);
            }
        }
    }

    #[test]
    fn leftovers_of_a_check_are_recognised() {
        let id = Uuid::now_v7();
        for path in [format!("check/{id}"), format!("check/{id}#1")] {
            assert_eq!(Name::parse(&path), Some(Name::Temporary));
        }
        assert_eq!(Name::parse("check/notes"), None);
        assert_eq!(Name::parse(&format!("checks/{id}")), None);
    }
}
