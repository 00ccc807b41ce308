//! Splits JSON text into structure and strings, block by block, and counts its values. Parsing is left to `serde_json`,
//! which would hold a text of any size whole.

use memchr::{memchr, memchr2};

/// Most values of a model's JSON: a scene of 60,000 different objects has as many.
pub const MAX_VALUES: u64 = 5_000_000;

/// The kind of a piece of JSON text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Text outside of strings.
    Structure,
    /// The quotation mark that begins a string.
    Open,
    /// Characters of a string that stand for themselves.
    Text,
    /// One byte of an escape such as `\n` or `\u00e9`.
    Escape,
    /// The quotation mark that ends a string.
    Close,
}

#[derive(Debug, Clone, Copy, Default)]
enum State {
    #[default]
    Structure,
    Text,
    /// After a backslash.
    Escape,
    /// Before the given number of hexadecimal digits of `\uXXXX`.
    Unicode(u8),
}

/// Remembers between two blocks of JSON text where the first one ended.
#[derive(Debug, Default)]
pub struct Scanner {
    state: State,
    depth: u32,
    /// The deepest nesting of objects and lists so far.
    pub deepest: u32,
    /// Number of values so far, roughly: objects, lists and what commas separate.
    pub values: u64,
}

impl Scanner {
    /// Removes the next piece from `block` and returns it; `None` when the block is empty.
    pub fn next<'a>(&mut self, block: &mut &'a [u8]) -> Option<(Kind, &'a [u8])> {
        let first = *block.first()?;
        let end = block.len();
        let (kind, length) = match (self.state, first) {
            (State::Structure, b'"') => {
                self.state = State::Text;
                (Kind::Open, 1)
            }
            (State::Structure, _) => (Kind::Structure, memchr(b'"', block).unwrap_or(end)),
            (State::Text, b'"') => {
                self.state = State::Structure;
                (Kind::Close, 1)
            }
            (State::Text, b'\\') => {
                self.state = State::Escape;
                (Kind::Escape, 1)
            }
            (State::Text, _) => (Kind::Text, memchr2(b'"', b'\\', block).unwrap_or(end)),
            (State::Escape | State::Unicode(_), _) => {
                self.state = match (self.state, first) {
                    (State::Escape, b'u') => State::Unicode(4),
                    (State::Unicode(left @ 2..), _) => State::Unicode(left - 1),
                    _ => State::Text,
                };
                (Kind::Escape, 1)
            }
        };
        let (piece, rest) = block.split_at_checked(length)?;
        *block = rest;
        if kind == Kind::Structure {
            self.count(piece);
        }
        Some((kind, piece))
    }

    fn count(&mut self, structure: &[u8]) {
        for byte in structure {
            match byte {
                b'[' | b'{' => {
                    self.values += 1;
                    self.depth += 1;
                    self.deepest = self.deepest.max(self.depth);
                }
                b']' | b'}' => self.depth = self.depth.saturating_sub(1),
                b',' => self.values += 1,
                _ => {}
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn block_sizes_do_not_change_the_pieces() {
        let text = br#"{"a\"\u00e9,[":[1,{"b":"\\"}],"c":"d"}"#;
        for size in 1..text.len() {
            let mut scanner = Scanner::default();
            let (mut all, mut strings) = (Vec::<u8>::new(), Vec::<u8>::new());
            for mut block in text.chunks(size) {
                while let Some((kind, piece)) = scanner.next(&mut block) {
                    all.extend(piece);
                    if matches!(kind, Kind::Text | Kind::Escape) {
                        strings.extend(piece);
                    }
                }
            }
            assert_eq!(all, text);
            assert_eq!(strings, br#"a\"\u00e9,[b\\cd"#);
            assert_eq!((scanner.values, scanner.deepest, scanner.depth), (5, 3, 0));
        }
    }
}
