//! Reads huge JSON in little memory: shortens long strings and bounds nesting on the way to the parser.

use std::io::{self, BufRead, BufReader, Read};

use serde::Deserialize;
use serde::de::{DeserializeOwned, Deserializer, Error, Unexpected};
use serde_json::Number;

use crate::domain::{ConversionError, error};
use crate::formats::gltf::json_scanner::{Kind, MAX_VALUES, Scanner};
use crate::formats::gltf::malformed;

/// Approximate length to which strings are cut, in bytes: longer ones are embedded data and not references.
const MAX_STRING: usize = 4096;

/// Deepest nesting; `serde_json` does not build deeper values either.
const MAX_DEPTH: u32 = 120;

/// Largest JSON of a model; the beginnings of its strings are kept in memory.
pub const MOST: Size = Size { values: MAX_VALUES, text: 128 << 20 };

/// Parses the JSON in `reader` as a `T`; `extension` names the kind of file in errors.
///
/// # Errors
/// `import_failed` with the reason, `cancelled`, `io`.
pub fn read<T: DeserializeOwned>(reader: impl Read, extension: &str) -> Result<T, ConversionError> {
    let shortened = Shortened::new(BufReader::with_capacity(1 << 16, reader));
    serde_json::from_reader(BufReader::with_capacity(1 << 13, shortened)).map_err(|error| {
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
        malformed(format!("the {extension} file cannot be read: {reason}"))
    })
}

/// The size of JSON text.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// Number of values, roughly: objects, lists and what commas separate.
    pub values: u64,
    /// Its length in bytes, with shortened strings.
    pub text: u64,
}

/// Measures the JSON in `reader`; stops where it is larger than [`MOST`].
pub fn measure(reader: impl Read) -> io::Result<Size> {
    let mut shortened = Shortened::new(BufReader::with_capacity(1 << 16, reader));
    let mut text = 0;
    let mut block = [0; 1 << 13];
    while shortened.filter.scanner.values <= MOST.values && text <= MOST.text {
        let count = shortened.read(&mut block)?;
        if count == 0 {
            break;
        }
        text += count as u64;
    }
    Ok(Size { values: shortened.filter.scanner.values, text })
}

/// A reader of JSON text that leaves out the rest of long strings and refuses deep nesting.
struct Shortened<R> {
    inner: R,
    filter: Filter,
}

/// Decides which bytes of JSON text are kept.
#[derive(Default)]
struct Filter {
    scanner: Scanner,
    /// Bytes of the current string so far, without escapes.
    length: usize,
    /// Whether the rest of the current string is left out.
    dropping: bool,
}

impl<R> Shortened<R> {
    fn new(inner: R) -> Self {
        Self { inner, filter: Filter::default() }
    }
}

impl Filter {
    /// The part of `piece` that is kept.
    fn keep<'a>(&mut self, kind: Kind, piece: &'a [u8]) -> &'a [u8] {
        match kind {
            Kind::Text | Kind::Escape if self.dropping => &[],
            Kind::Text => {
                let room = MAX_STRING.saturating_sub(self.length).min(piece.len());
                // Cut only at the start of a character, so that the text stays UTF-8.
                let rest = piece.get(room..).unwrap_or_default();
                let cut = rest.iter().position(|byte| byte & 0xc0 != 0x80);
                self.dropping = cut.is_some();
                self.length += room;
                piece.get(..room + cut.unwrap_or(rest.len())).unwrap_or_default()
            }
            Kind::Open => {
                (self.length, self.dropping) = (0, false);
                piece
            }
            Kind::Structure | Kind::Escape | Kind::Close => piece,
        }
    }
}

impl<R: BufRead> Read for Shortened<R> {
    fn read(&mut self, out: &mut [u8]) -> io::Result<usize> {
        let mut written = 0;
        while written == 0 && !out.is_empty() {
            let block = self.inner.fill_buf()?;
            let count = block.len().min(out.len());
            let mut rest = block.get(..count).unwrap_or_default();
            if rest.is_empty() {
                return Ok(0);
            }
            while let Some((kind, piece)) = self.filter.scanner.next(&mut rest) {
                let kept = self.filter.keep(kind, piece);
                if let Some(room) = out.get_mut(written..written + kept.len()) {
                    room.copy_from_slice(kept);
                }
                written += kept.len();
            }
            self.inner.consume(count);
            if self.filter.scanner.deepest > MAX_DEPTH {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "its JSON is nested too deeply"));
            }
        }
        Ok(written)
    }
}

/// A count, size or index; some writers say `8.0`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Count(pub u64);

impl<'de> Deserialize<'de> for Count {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let number = Number::deserialize(deserializer)?;
        let float = number.as_f64().unwrap_or(-1.0);
        match number.as_u64() {
            Some(count) => Ok(Count(count)),
            None if float >= 0.0 && float.fract() == 0.0 => Ok(Count(float as u64)),
            None => {
                let found = number.as_i64().map_or(Unexpected::Float(float), Unexpected::Signed);
                Err(Error::invalid_value(found, &"a whole number that is not negative"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ErrorCode;
    use crate::formats::gltf::{MAX_ENTRIES, bounded_list};

    #[derive(Default, Deserialize)]
    #[serde(default)]
    struct Doc {
        text: String,
        after: Count,
        #[serde(deserialize_with = "bounded_list")]
        list: Vec<Count>,
    }

    #[test]
    fn long_strings_are_shortened_and_the_rest_is_read() {
        for filler in ["A", "猫", r"\\", r#"\""#, r"\ud83d\ude00", "😀"] {
            let text = format!(r#"{{"text":"{}end","after":7.0}}"#, filler.repeat(20_000));
            let doc: Doc = read(text.as_bytes(), "gltf").unwrap();
            assert_eq!(doc.after, Count(7), "{filler}");
            assert!(!doc.text.is_empty());
            if !filler.starts_with('\\') {
                assert!(doc.text.len() < 3 * MAX_STRING, "{filler}");
            }
        }
        let doc: Doc = read(r#"{"text":"as it \u00e9s","after":1}"#.as_bytes(), "gltf").unwrap();
        assert_eq!(doc.text, "as it és");
    }

    #[test]
    fn deep_nesting_is_refused_with_a_clear_error() {
        for open in ["[", "{\"a\":"] {
            let text = format!(r#"{{"asset":{{}},"extras":{}"#, open.repeat(100_000));
            let error = read::<serde::de::IgnoredAny>(text.as_bytes(), "gltf").unwrap_err();
            assert_eq!(error.code, ErrorCode::ImportFailed);
            assert_eq!(error.detail, "the gltf file cannot be read: its JSON is nested too deeply");
        }
    }

    #[test]
    fn lists_with_too_many_entries_are_refused() {
        let text = format!("[{}0]", "0,".repeat(MAX_ENTRIES));
        let error = read::<Doc>(format!(r#"{{"list":{text}}}"#).as_bytes(), "gltf").err().unwrap();
        assert!(error.detail.contains("more than a million"), "{}", error.detail);
        assert!(read::<Count>("-1".as_bytes(), "gltf").is_err());
        assert!(read::<Count>("1.5".as_bytes(), "gltf").is_err());
    }
}
