//! Reading huge JSON in little memory: long strings are shortened and nesting is bounded on the way to the parser.

use std::io::{self, BufRead, BufReader, Read};
use std::marker::PhantomData;

use memchr::memchr2;
use serde::de::{DeserializeOwned, Deserializer, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, de};

use crate::domain::{ConversionError, ErrorCode, error};

/// Strings are cut to about this many bytes: what is longer is embedded data, and no reference.
const MAX_STRING: u32 = 4096;

/// Deepest nesting; `serde_json` builds values no deeper than this either.
const MAX_DEPTH: u32 = 120;

/// Most entries of one list. The largest real models have some 10,000 nodes.
const MAX_ENTRIES: usize = 1_000_000;

/// How large a model's JSON may be: a scene of 60,000 different objects has as many values, and the beginnings of strings
/// are kept in memory.
pub const MOST: Size = Size { values: 5_000_000, text: 128 << 20 };

const TOO_DEEP: &str = "its JSON is nested too deeply";

/// Parses the JSON in `reader` as a `T` that keeps only what it needs.
///
/// # Errors
/// `import_failed` with what is wrong; `what` is "gltf" or the like.
pub fn read<T: DeserializeOwned>(reader: impl Read, what: &str) -> Result<T, ConversionError> {
    let mut lean = Lean::new(BufReader::with_capacity(1 << 16, reader));
    serde_json::from_reader(BufReader::with_capacity(1 << 13, &mut lean)).map_err(|error| {
        let reason = match error.classify() {
            serde_json::error::Category::Eof => "its JSON ends early".to_owned(),
            serde_json::error::Category::Io => {
                let error = io::Error::from(error);
                if error.kind() != io::ErrorKind::InvalidData {
                    return ConversionError::io("read the model", &error);
                }
                error.to_string()
            }
            _ => format!("its JSON is wrong: {}", error::of_json(&error)),
        };
        ConversionError::new(ErrorCode::ImportFailed, format!("the {what} file cannot be read: {reason}"))
    })
}

/// How large JSON is.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// How many values it holds, roughly: objects, lists and what commas part.
    pub values: u64,
    /// Its bytes without what is cut of strings.
    pub text: u64,
}

/// How large the JSON in `reader` is. What is larger than [`MOST`] is not read to its end.
pub fn measure(reader: impl Read) -> io::Result<Size> {
    let mut lean = Lean::new(BufReader::with_capacity(1 << 16, reader));
    let mut text = 0;
    let mut block = [0; 1 << 13];
    while lean.values <= MOST.values && text <= MOST.text {
        let count = lean.read(&mut block)?;
        if count == 0 {
            break;
        }
        text += count as u64;
    }
    Ok(Size { values: lean.values, text })
}

#[derive(Clone, Copy, PartialEq)]
enum State {
    Outside,
    Inside {
        length: u32,
    },
    /// After a backslash; `rest` more characters belong to the escape.
    Escape {
        length: u32,
    },
    Unicode {
        length: u32,
        rest: u8,
    },
    Dropping,
    DroppingEscape,
}

/// A filter on JSON text that drops the rest of long strings.
struct Lean<R> {
    inner: R,
    state: State,
    depth: u32,
    values: u64,
}

impl<R> Lean<R> {
    fn new(inner: R) -> Self {
        Self { inner, state: State::Outside, depth: 0, values: 0 }
    }

    /// Whether the byte is passed on.
    fn keep(&mut self, byte: u8) -> io::Result<bool> {
        use State::{Dropping, DroppingEscape, Escape, Inside, Outside, Unicode};
        self.state = match (self.state, byte) {
            (Outside, b'"') => Inside { length: 0 },
            (Outside, _) => {
                self.structure(byte)?;
                Outside
            }
            (Inside { .. } | Dropping, b'"') => Outside,
            (Inside { length }, b'\\') => Escape { length },
            // Only at the start of a character, so that what is kept stays UTF-8.
            (Inside { length }, _) if length > MAX_STRING && byte & 0xc0 != 0x80 => Dropping,
            (Inside { length }, _) => Inside { length: length.saturating_add(1) },
            (Escape { length }, b'u') => Unicode { length, rest: 4 },
            (Escape { length } | Unicode { length, rest: 0 | 1 }, _) => Inside { length },
            (Unicode { length, rest }, _) => Unicode { length, rest: rest - 1 },
            (Dropping, b'\\') => DroppingEscape,
            (Dropping | DroppingEscape, _) => Dropping,
        };
        Ok(!matches!(self.state, Dropping | DroppingEscape))
    }

    /// How many of the bytes that come next are passed on, as they are nothing but the text of a string.
    fn keep_run(&mut self, bytes: &[u8]) -> usize {
        let State::Inside { length } = &mut self.state else { return 0 };
        let most = MAX_STRING.saturating_sub(*length) as usize;
        let run = memchr2(b'"', b'\\', bytes).unwrap_or(bytes.len()).min(most);
        *length += run as u32;
        run
    }

    fn structure(&mut self, byte: u8) -> io::Result<()> {
        match byte {
            b'[' | b'{' => {
                self.depth += 1;
                self.values += 1;
                if self.depth > MAX_DEPTH {
                    return Err(io::Error::new(io::ErrorKind::InvalidData, TOO_DEEP));
                }
            }
            b']' | b'}' => self.depth = self.depth.saturating_sub(1),
            b',' => self.values += 1,
            _ => {}
        }
        Ok(())
    }
}

impl<R: BufRead> Read for Lean<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written == 0 && !out.is_empty() {
            // Copied out of the buffer first, as the filter borrows the whole of self.
            let mut chunk = [0; 4096];
            let room = out.len().min(chunk.len());
            let count = self.inner.read(chunk.get_mut(..room).unwrap_or_default())?;
            if count == 0 {
                return Ok(0);
            }
            let mut rest = chunk.get(..count).unwrap_or_default();
            while let Some((byte, after)) = rest.split_first() {
                if self.state == State::Dropping && !matches!(byte, b'"' | b'\\') {
                    // Most of a large file is one embedded string: past it in one leap.
                    let end = memchr2(b'"', b'\\', rest);
                    rest = rest.get(end.unwrap_or(rest.len())..).unwrap_or_default();
                    continue;
                }
                let run = self.keep_run(rest);
                if run > 0 {
                    let (run, after) = rest.split_at_checked(run).unwrap_or_default();
                    if let Some(room) = out.get_mut(written..written + run.len()) {
                        room.copy_from_slice(run);
                    }
                    written += run.len();
                    rest = after;
                    continue;
                }
                rest = after;
                if self.keep(*byte)?
                    && let Some(slot) = out.get_mut(written)
                {
                    *slot = *byte;
                    written += 1;
                }
            }
        }
        Ok(written)
    }
}

/// A list that refuses to grow without bound.
#[derive(Debug)]
pub struct Bounded<T>(pub Vec<T>);

impl<T> Default for Bounded<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<'de, T: Deserialize<'de>> Deserialize<'de> for Bounded<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct List<T>(PhantomData<T>);
        impl<'de, T: Deserialize<'de>> Visitor<'de> for List<T> {
            type Value = Bounded<T>;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a list")
            }

            fn visit_seq<A: SeqAccess<'de>>(self, mut entries: A) -> Result<Self::Value, A::Error> {
                let mut list = Vec::new();
                while let Some(entry) = entries.next_element()? {
                    if list.len() >= MAX_ENTRIES {
                        return Err(A::Error::custom("a list of more than a million entries"));
                    }
                    list.push(entry);
                }
                Ok(Bounded(list))
            }
        }
        deserializer.deserialize_seq(List(PhantomData))
    }
}

/// A count, size or index; some writers say `8.0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count(pub u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Number;
        impl Visitor<'_> for Number {
            type Value = Count;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("a whole number that is not negative")
            }

            fn visit_u64<E: de::Error>(self, value: u64) -> Result<Count, E> {
                Ok(Count(value))
            }

            fn visit_i64<E: de::Error>(self, value: i64) -> Result<Count, E> {
                u64::try_from(value)
                    .map(Count)
                    .map_err(|_| E::invalid_value(de::Unexpected::Signed(value), &self))
            }

            fn visit_f64<E: de::Error>(self, value: f64) -> Result<Count, E> {
                if value >= 0.0 && value.fract() == 0.0 {
                    return Ok(Count(value as u64));
                }
                Err(E::invalid_value(de::Unexpected::Float(value), &self))
            }
        }
        deserializer.deserialize_any(Number)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Deserialize)]
    struct Doc {
        text: String,
        after: Count,
    }

    #[test]
    fn long_strings_are_shortened_and_the_rest_is_read() {
        for filler in ["A", "猫", r"\\", r#"\""#, r"\ud83d\ude00", "😀"] {
            let text = format!(r#"{{"text":"{}end","after":7.0}}"#, filler.repeat(20_000));
            let doc: Doc = read(text.as_bytes(), "gltf").unwrap();
            assert_eq!(doc.after, Count(7), "{filler}");
            assert!(!doc.text.is_empty());
            if !filler.starts_with('\\') {
                assert!(doc.text.len() < 3 * MAX_STRING as usize, "{filler}");
            }
        }
        let doc: Doc = read(r#"{"text":"as it \u00e9s","after":1}"#.as_bytes(), "gltf").unwrap();
        assert_eq!(doc.text, "as it és");
    }

    #[test]
    fn deep_nesting_is_one_sentence() {
        for open in ["[", "{\"a\":"] {
            let text = format!(r#"{{"asset":{{}},"extras":{}"#, open.repeat(100_000));
            let error = read::<de::IgnoredAny>(text.as_bytes(), "gltf").unwrap_err();
            assert_eq!(error.code, ErrorCode::ImportFailed);
            assert_eq!(error.detail, "the gltf file cannot be read: its JSON is nested too deeply");
        }
    }

    #[test]
    fn endless_lists_are_refused() {
        let text = format!("[{}0]", "0,".repeat(MAX_ENTRIES));
        let error = read::<Bounded<Count>>(text.as_bytes(), "gltf").unwrap_err();
        assert!(error.detail.contains("more than a million"), "{}", error.detail);
        assert!(read::<Count>("-1".as_bytes(), "gltf").is_err());
        assert!(read::<Count>("1.5".as_bytes(), "gltf").is_err());
    }
}
