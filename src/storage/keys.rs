//! What lies where in the store.

use std::time::SystemTime;

use blake3::Hash;
use uuid::Uuid;

pub const BLOBS: &str = "blobs";
pub const REPORTS: &str = "reports";
pub const ENTRIES: &str = "entries";
pub const CHECKS: &str = "check";
pub const ALL: [&str; 4] = [BLOBS, REPORTS, ENTRIES, CHECKS];

const JSON: &str = ".json";

/// Something that is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Key {
    /// A result, by the BLAKE3 of its bytes.
    Blob(Hash),
    /// A report, by its number, a UUID of version 7.
    Report(Uuid),
    /// What a cache keeps of a conversion, by its identity.
    Entry(Hash),
}

/// What a name below the store's root stands for. Names that stand for nothing are somebody else's, and never touched.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Name {
    Kept(Key),
    /// Written aside, or by a check: there for a moment, unless its writer was killed.
    Passing,
}

impl Key {
    /// Relative to the root, with slashes.
    pub fn path(&self) -> String {
        let (folder, name, end) = match self {
            Key::Blob(hash) => (BLOBS, hash.to_hex(), ""),
            Key::Report(id) => return format!("{REPORTS}/{id}{JSON}"),
            Key::Entry(identity) => (ENTRIES, identity.to_hex(), JSON),
        };
        // A folder with a million files in it is slow on some file systems.
        format!("{folder}/{}/{name}{end}", &name[..2])
    }

    fn parse(path: &str) -> Option<Key> {
        let (folder, rest) = path.split_once('/')?;
        let name = rest.rsplit_once('/').map_or(rest, |(_, name)| name);
        let stem = || name.strip_suffix(JSON);
        let key = match folder {
            BLOBS => Key::Blob(Hash::from_hex(name).ok()?),
            REPORTS => Key::Report(Uuid::try_parse(stem()?).ok()?),
            ENTRIES => Key::Entry(Hash::from_hex(stem()?).ok()?),
            _ => return None,
        };
        // Only what would be written so: no other spelling of the same number, no other folder.
        (key.path() == path).then_some(key)
    }
}

impl Name {
    /// What `path`, relative to the root, stands for.
    pub fn parse(path: &str) -> Option<Name> {
        if let Some(key) = Key::parse(path) {
            return Some(Name::Kept(key));
        }
        if let Some(id) = path.strip_prefix(CHECKS).and_then(|rest| rest.strip_prefix('/')) {
            let id = id.split_once('#').map_or(id, |(id, _)| id);
            return Uuid::try_parse(id).is_ok().then_some(Name::Passing);
        }
        // As object_store names what it writes aside on a file system, and `local` like it.
        let (path, number) = path.rsplit_once('#')?;
        let is_number = !number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit());
        (is_number && Key::parse(path).is_some()).then_some(Name::Passing)
    }
}

/// One object of ours, as it was listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Item {
    /// Below the root.
    pub path: String,
    pub name: Name,
    pub bytes: u64,
    /// Of a blob in a folder: when it was last used. In a bucket, when it was put.
    pub modified: SystemTime,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_key_is_found_by_its_path(bytes: [u8; 32], id: u128) {
            for key in [Key::Blob(bytes.into()), Key::Report(Uuid::from_u128(id)), Key::Entry(bytes.into())] {
                let path = key.path();
                prop_assert_eq!(Name::parse(&path), Some(Name::Kept(key)));
                let aside = format!("{path}#17");
                prop_assert_eq!(Name::parse(&aside), Some(Name::Passing));
                for other in [format!("{path}x"), format!("x{path}"), format!("{path}#"), path.to_uppercase()] {
                    prop_assert_eq!(Name::parse(&other), None);
                }
            }
        }

        #[test]
        fn no_name_of_others_is_taken_for_ours(path in "(blobs|reports|entries|check|x)?/?[0-9a-f]{0,2}/?[0-9a-f#.-]{0,70}(.json)?") {
            if let Some(Name::Kept(key)) = Name::parse(&path) {
                prop_assert_eq!(key.path(), path);
            }
        }
    }

    #[test]
    fn what_a_check_leaves_is_known() {
        let id = Uuid::now_v7();
        for path in [format!("check/{id}"), format!("check/{id}#1")] {
            assert_eq!(Name::parse(&path), Some(Name::Passing));
        }
        assert_eq!(Name::parse("check/notes"), None);
        assert_eq!(Name::parse(&format!("checks/{id}")), None);
    }
}
