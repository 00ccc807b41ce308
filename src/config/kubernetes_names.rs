//! Names of objects of Kubernetes.

use std::ffi::OsStr;

use super::values::{self, InvalidValue};

/// Longest name of an object that becomes part of a label.
const LONGEST_NAME: usize = 63;

/// Longest prefix: a name has the ID of its job, too, and Kubernetes appends six characters for each pod.
const LONGEST_PREFIX: usize = 24;

/// The name of a namespace or a queue.
pub fn name(value: &OsStr) -> Result<String, InvalidValue> {
    label(value, LONGEST_NAME)
}

/// The prefix of names.
pub fn prefix(value: &OsStr) -> Result<String, InvalidValue> {
    label(value, LONGEST_PREFIX)
}

/// The name of a pod, which may have dots.
pub fn pod(value: &OsStr) -> Result<String, InvalidValue> {
    let text = values::text(value)?;
    if values::is_name(text) { Ok(text.to_owned()) } else { Err(InvalidValue::Value) }
}

/// A DNS label (RFC 1123) of at most `longest` characters.
fn label(value: &OsStr, longest: usize) -> Result<String, InvalidValue> {
    let text = values::text(value)?;
    let is_allowed = |letter: char| letter.is_ascii_lowercase() || letter.is_ascii_digit() || letter == '-';
    let is_sound = (1..=longest).contains(&text.len())
        && text.chars().all(is_allowed)
        && !text.starts_with('-')
        && !text.ends_with('-');
    if is_sound { Ok(text.to_owned()) } else { Err(InvalidValue::Value) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_those_of_kubernetes() {
        for text in ["a", "meshgate-1", "0"] {
            assert_eq!(name(text.as_ref()), Ok(text.to_owned()));
        }
        for text in ["", "-a", "a-", "A", "a.b", "a_b", "é", &"a".repeat(LONGEST_NAME + 1)] {
            assert_eq!(name(text.as_ref()), Err(InvalidValue::Value), "{text}");
        }
        assert!(prefix("a".repeat(LONGEST_PREFIX).as_ref()).is_ok());
        assert!(prefix("a".repeat(LONGEST_PREFIX + 1).as_ref()).is_err());
        assert_eq!(
            pod("meshgate-worker-5d9f.a-x7x2p".as_ref()),
            Ok("meshgate-worker-5d9f.a-x7x2p".to_owned())
        );
        assert_eq!(pod("a/b".as_ref()), Err(InvalidValue::Value));
    }
}
