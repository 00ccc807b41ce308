//! Resolves the asset paths of USD: `@…@` in text, and words of a binary layer that look like paths.

use std::collections::HashSet;
use std::fs::File;
use std::io::{self, BufRead, BufReader, Write};

use indexmap::IndexSet;

use super::findings::Findings;
use super::rewrite::{beginning, relative, rewrite};
use super::statements::Statements;
use super::{scan, usdc};
use crate::domain::{ConversionError, ErrorCode};
use crate::fs::names;
use crate::intake::model_files::{Files, Resolved};
use crate::intake::source::unreadable;

/// Longest asset path that is resolved, in bytes.
const MAX_PATH: usize = 4096;

/// Most different asset paths of a layer that are resolved.
const MAX_PATHS: usize = 20_000;

pub fn resolve(files: &mut Files, index: usize, findings: &mut Findings) -> Result<(), ConversionError> {
    let mut layers = IndexSet::from([index]);
    let mut next = 0;
    while let Some(layer) = layers.get_index(next).copied() {
        files.context().cancel.check()?;
        next += 1;
        let found = if beginning(files, layer)?.trim_ascii_start().starts_with(b"#usda") {
            resolve_layer(files, layer, findings)?
        } else {
            let section = usdc::find(&files.path(layer).unwrap_or_default()).map_err(unreadable)?;
            let memory = section.as_ref().map_or(0, usdc::Section::memory);
            let _reserved = files.context().reserve(memory)?;
            let limit = files.unpacking_left();
            let words = section.map_or(Ok(None), |section| section.words(limit)).map_err(unreadable)?;
            let Some(words) = words else {
                scan::resolve(files, layer, false, findings)?;
                continue;
            };
            resolve_words(files, layer, &words, findings)?
        };
        layers.extend(found);
    }
    Ok(())
}

/// Takes the files that words of a binary layer name; returns the layers among them. A word may be anything, so a
/// missing file is not an error. The layer is not rewritten; files are linked to the paths that it names.
fn resolve_words(
    files: &mut Files,
    index: usize,
    words: &[u8],
    findings: &mut Findings,
) -> Result<Vec<usize>, ConversionError> {
    let (mut layers, mut there, mut missing) = (Vec::new(), HashSet::new(), Vec::new());
    let is_one = |word: &[u8], extensions: &[&str]| {
        let extension = word.rsplit(|byte| *byte == b'.').next().unwrap_or_default();
        extensions.iter().any(|known| extension.eq_ignore_ascii_case(known.as_bytes()))
    };
    let words = words.split(|byte| *byte == 0).filter(|word| word.len() <= MAX_PATH && word.contains(&b'.'));
    let named = words.filter_map(|word| {
        let is_layer = is_one(word, scan::LAYERS);
        (is_layer || is_one(word, scan::TEXTURES)).then(|| (names::decode(word), is_layer))
    });
    let named = named.filter(|(name, _)| !names::extension(name).is_empty());
    for (name, is_layer) in named.take(MAX_PATHS) {
        match files.resolve(index, &name)? {
            Resolved::Found(found) => {
                files.take(found)?;
                scan::link_to_name(files, index, &name, found)?;
                there.insert(names::base_name(&name).to_lowercase());
                if is_layer {
                    layers.push(found);
                }
            }
            _ if is_layer || name.contains("<UDIM>") => {}
            _ => missing.push(name),
        }
    }
    // Materials and images often have the names of their files.
    missing.retain(|name| !there.contains(&names::base_name(name).to_lowercase()));
    for name in &missing {
        findings.missing_texture(name);
    }
    Ok(layers)
}

/// Resolves the paths of a text layer; returns the layers that it refers to.
fn resolve_layer(
    files: &mut Files,
    index: usize,
    findings: &mut Findings,
) -> Result<Vec<usize>, ConversionError> {
    let mut paths = Statements::new(MAX_PATHS);
    let file = File::open(files.path(index).unwrap_or_default()).map_err(unreadable)?;
    let mut reader = BufReader::with_capacity(1 << 16, files.context().cancel.reader(file));
    let noted = for_each_token(&mut reader, |part| {
        if let Token::Path(path) = part {
            paths.note(path);
        }
        Ok(())
    });
    noted.map_err(unreadable)?;
    let mut layers = Vec::new();
    let changed = paths.resolve(files, |files, path| {
        let (new, layer) = resolve_path(files, index, &names::decode(path), findings)?;
        layers.extend(layer);
        Ok(new.map(String::into_bytes))
    })?;
    if changed {
        rewrite(files, index, |reader, writer| {
            for_each_token(reader, |part| match part {
                Token::Text(text) => writer.write_all(text),
                Token::Path(path) => paths.write(path, path, writer),
            })
        })?;
    }
    Ok(layers)
}

/// Resolves a path; returns its replacement, if it changes, and the layer that it means, if it means one.
fn resolve_path(
    files: &mut Files,
    index: usize,
    path: &str,
    findings: &mut Findings,
) -> Result<(Option<String>, Option<usize>), ConversionError> {
    // `package.usdz[texture.png]` names a file inside a package.
    let (outer, inner) = path.find('[').and_then(|at| path.split_at_checked(at)).unwrap_or((path, ""));
    if outer.is_empty() {
        return Ok((None, None));
    }
    let extension = names::extension(outer);
    let is_layer = scan::LAYERS.contains(&extension.as_str());
    let pattern = outer.contains("<UDIM>");
    match files.resolve(index, outer)? {
        Resolved::Found(found) => {
            files.take(found)?;
            let there = relative(files, index, found);
            let same = outer.strip_prefix("./").unwrap_or(outer) == there;
            // USD searches a bare name elsewhere; with `./` it is the file beside the layer.
            let prefix = if there.starts_with("../") { "" } else { "./" };
            let new = (!same).then(|| format!("{prefix}{there}{inner}"));
            Ok((new, is_layer.then_some(found)))
        }
        Resolved::Missing if pattern => Ok((None, None)),
        missing if is_layer => {
            let why = match missing {
                Resolved::Outside => "lies outside the model and was not opened",
                _ => "is missing; send it together with the model",
            };
            let detail = format!("the layer {} {why}", names::quoted(outer));
            Err(ConversionError::new(ErrorCode::MissingFiles, detail))
        }
        missing => {
            if scan::TEXTURES.contains(&extension.as_str()) {
                findings.missing_texture(outer);
            } else if missing == Resolved::Outside {
                let shown = names::quoted(outer);
                findings.warn(format!("the file {shown} lies outside the model and was not opened"));
            }
            Ok(((missing == Resolved::Outside).then(String::new), None))
        }
    }
}

/// A piece of a text layer.
enum Token<'a> {
    /// Anything else, the delimiters of paths included.
    Text(&'a [u8]),
    /// A path without its delimiters.
    Path(&'a [u8]),
}

/// Calls `each` with the tokens of a text layer in turn; together they are its bytes.
fn for_each_token(
    reader: &mut impl BufRead,
    mut each: impl FnMut(Token<'_>) -> io::Result<()>,
) -> io::Result<()> {
    let mut lexer = Lexer::default();
    loop {
        let block = reader.fill_buf()?;
        let count = block.len();
        if count == 0 {
            return each(Token::Text(&lexer.pending));
        }
        for &byte in block {
            lexer.add(byte, &mut each)?;
        }
        reader.consume(count);
    }
}

/// What the next byte of a text layer belongs to.
#[derive(Clone, Copy, Default)]
enum State {
    #[default]
    Plain,
    /// It ends with the line.
    Comment,
    /// After `count` equal delimiters: one or three begin a string or path, two are an empty one.
    Opening { delimiter: u8, count: usize },
    /// In a string or path that ends with `count` delimiters; the last `seen` bytes were delimiters.
    Inside { delimiter: u8, count: usize, seen: usize, escaped: bool },
}

/// Tells paths from strings and comments, byte by byte; it holds one path at most.
#[derive(Default)]
struct Lexer {
    state: State,
    /// Bytes that no token has passed on yet.
    pending: Vec<u8>,
}

impl Lexer {
    fn add(&mut self, byte: u8, each: &mut impl FnMut(Token<'_>) -> io::Result<()>) -> io::Result<()> {
        if let State::Opening { delimiter, count } = self.state
            && (byte != delimiter || count == 2)
        {
            self.state = match count + usize::from(byte == delimiter) {
                2 => State::Plain,
                count => State::Inside { delimiter, count, seen: 0, escaped: false },
            };
            if byte == delimiter {
                self.pending.push(byte);
            }
            if delimiter == b'@' && matches!(self.state, State::Inside { .. }) {
                self.pass_on(each)?;
            }
            if byte == delimiter {
                return Ok(());
            }
        }
        self.pending.push(byte);
        self.state = match (self.state, byte) {
            (State::Plain, b'#') => State::Comment,
            (State::Plain, b'"' | b'\'' | b'@') => State::Opening { delimiter: byte, count: 1 },
            (State::Opening { delimiter, count }, _) => State::Opening { delimiter, count: count + 1 },
            // The end of a line also ends a string that is not closed.
            (State::Comment | State::Inside { delimiter: b'"' | b'\'', count: 1, .. }, b'\n') => State::Plain,
            (State::Inside { delimiter, count, seen, escaped }, _) => {
                let seen = if byte == delimiter && !escaped { seen + 1 } else { 0 };
                let is_path = delimiter == b'@';
                if seen == count {
                    if is_path {
                        let (path, end) = self.pending.split_at(self.pending.len() - count);
                        each(Token::Path(path))?;
                        each(Token::Text(end))?;
                        self.pending.clear();
                    }
                    State::Plain
                } else if is_path && self.pending.len() > MAX_PATH {
                    State::Plain
                } else {
                    // Paths have no escapes.
                    State::Inside { delimiter, count, seen, escaped: !is_path && byte == b'\\' && !escaped }
                }
            }
            (state, _) => state,
        };
        let in_path = matches!(self.state, State::Inside { delimiter: b'@', .. });
        if self.pending.len() > MAX_PATH && !in_path { self.pass_on(each) } else { Ok(()) }
    }

    fn pass_on(&mut self, each: &mut impl FnMut(Token<'_>) -> io::Result<()>) -> io::Result<()> {
        each(Token::Text(&self.pending))?;
        self.pending.clear();
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asset_paths_are_distinguished_from_strings_and_comments() {
        let text = br#"#usda 1.0
# mail@host @no@
( doc = "a@b @c@" subLayers = [@./a.usda@, @@@b@c.usda@@@] )
def "x" { string s = 'it\'s @x@' string e = "" asset n = @@ asset t = @t.png@ }
""" @deep@ "quoted" """ asset u = @u.png@
asset open = @never closed"#;
        let (mut paths, mut all) = (Vec::new(), Vec::new());
        for_each_token(&mut BufReader::with_capacity(7, text.as_slice()), |part| {
            match part {
                Token::Text(text) => all.extend_from_slice(text),
                Token::Path(path) => {
                    paths.push(String::from_utf8(path.to_vec()).unwrap());
                    all.extend_from_slice(path);
                }
            }
            Ok(())
        })
        .unwrap();
        assert_eq!(paths, ["./a.usda", "b@c.usda", "t.png", "u.png"]);
        assert_eq!(all, text);
    }
}
