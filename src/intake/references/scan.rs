//! Names of other files in the bytes of a binary file, found without understanding it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::Findings;
use crate::domain::ConversionError;
use crate::formats::blend;
use crate::fs::names;
use crate::fs::open::make_private;
use crate::intake::model_files::{Files, Found};

/// Extensions of textures, in lower case.
pub const TEXTURES: &[&str] =
    &["png", "jpg", "jpeg", "tga", "bmp", "tif", "tiff", "webp", "dds", "exr", "hdr", "gif", "psd", "jp2"];

/// Extensions of files that hold part of a scene.
pub const LAYERS: &[&str] = &["usd", "usda", "usdc", "usdz", "abc", "blend"];

/// Longest file name that is recognised, in bytes.
const MAX_NAME: usize = 255;

/// The extension may follow any of so many last dots of a name, as what follows it is not told apart.
const MAX_DOTS: usize = 4;

/// Most names taken from one file, most paths that end in them, and in one of them.
const MAX_NAMES: usize = 2000;
const MAX_PATHS: usize = 8000;
const MAX_PATHS_OF_ONE: usize = 64;

/// Of the folders before a name, so many bytes are kept.
const MAX_FOLDERS: usize = 512;

/// Most files that are taken where any of them may be the one that is meant.
const MAX_RIVALS: usize = 4;

/// Finds the textures that the file at `index` names; with `beside`, puts each next to it under the name it uses,
/// where the FBX importer looks last. Of several with one name that is done with none: the engine tells them by their
/// folders, once it has not found them.
pub fn resolve(
    files: &mut Files,
    index: usize,
    beside: bool,
    findings: &mut Findings,
) -> Result<(), ConversionError> {
    if files.items().len() < 2 {
        return Ok(());
    }
    let named = named_files(files, index, TEXTURES)?;
    let mut named: Vec<_> = named.into_values().collect();
    named.sort();
    for paths in named {
        let is_tail = |path: &str| {
            paths.iter().any(|other| other.strip_suffix(path).is_some_and(|folders| folders.ends_with('/')))
        };
        let (mut exact, mut likely) = (BTreeSet::new(), BTreeSet::new());
        for path in &paths {
            match files.find(index, path)? {
                Found::Exactly(found) => _ = exact.insert(found),
                Found::Likely(found) if !is_tail(path) => likely.extend(found.into_iter().take(MAX_RIVALS)),
                _ => {}
            }
        }
        let all: Vec<usize> = exact.union(&likely).copied().collect();
        for texture in &all {
            files.take(*texture)?;
        }
        let own_names: BTreeSet<&str> = paths.iter().map(|path| names::base_name(path)).collect();
        match all.as_slice() {
            [only] if beside => {
                for name in own_names {
                    put_where_named(files, index, name, *only)?;
                }
            }
            [_, _, ..] if beside && all.iter().any(|texture| lie_together(files, index, *texture)) => {
                // The importer takes that one for every path that leads nowhere.
                if let (Some(name), false) = (own_names.first(), likely.is_subset(&exact)) {
                    findings.warn(ambiguous(name));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// The engine's own words for it (`materials/texture_files.py`).
fn ambiguous(name: &str) -> String {
    format!("several files may be the texture {name}; it may be the wrong one")
}

/// Whether two files are in one folder.
fn lie_together(files: &Files, one: usize, other: usize) -> bool {
    let folder = |index: usize| files.item(index).map(|item| item.stored.parent().map(Path::to_owned));
    folder(one) == folder(other)
}

/// Gives a file that was found elsewhere a second name where the binary file at `index` looks for it. Once the model has
/// as many as it may, no more are made.
///
/// # Errors
/// `io`, `too_large`
pub fn put_where_named(
    files: &mut Files,
    index: usize,
    name: &str,
    found: usize,
) -> Result<(), ConversionError> {
    let (Some(main), Some(source)) = (files.item(index), files.path(found)) else { return Ok(()) };
    // The name comes from inside the file: only one that is harmless as it is can be made.
    let Some(parts) =
        names::components(name).filter(|parts| parts.iter().all(|part| names::safe(part) == *part))
    else {
        return Ok(());
    };
    let wanted = files.folder().join(main.stored.with_file_name("")).join(parts.join("/"));
    if wanted.exists() || !files.may_place(parts.len()) {
        return Ok(());
    }
    match make_private(wanted.parent().unwrap_or(&wanted)).and_then(|()| fs::hard_link(&source, &wanted)) {
        Ok(()) => Ok(()),
        // No such path can be made here, as where a file would be a folder: nobody can look there either.
        Err(error) if UNUSABLE.contains(&error.kind()) => Ok(()),
        Err(_) => copy_to(files, &source, &wanted),
    }
}

/// What the file system says of such a path.
const UNUSABLE: [ErrorKind; 3] =
    [ErrorKind::AlreadyExists, ErrorKind::NotADirectory, ErrorKind::InvalidFilename];

/// Not every file system has second names; a copy takes room.
fn copy_to(files: &mut Files, source: &Path, wanted: &Path) -> Result<(), ConversionError> {
    let copying = |error: io::Error| ConversionError::io("copy a texture", &error);
    files.count_copy(fs::metadata(source).map_err(copying)?.len())?;
    fs::copy(source, wanted).map(drop).map_err(copying)
}

/// The names with one of `extensions` that occur in the file at `index`, by their lower case, each with the paths that
/// it ends, as far as they can be told from what is before them. What is unpacked for it counts against the one limit of
/// the model.
///
/// # Errors
/// `io`, `too_large`, `cancelled`
pub fn named_files(
    files: &mut Files,
    index: usize,
    extensions: &[&str],
) -> Result<HashMap<String, Paths>, ConversionError> {
    let reading = |error: io::Error| ConversionError::io("read the model", &error);
    let cancel = files.context().cancel.clone();
    let Some(path) = files.path(index) else { return Ok(HashMap::new()) };
    let limit = *files.unpacking_left();
    let mut reader = blend::open(&path, limit, &cancel).map_err(reading)?;
    let mut words = Words {
        extensions,
        folders: Vec::new(),
        name: Vec::new(),
        named: HashMap::new(),
        paths: 0,
        noted: 0,
    };
    let mut chunk = vec![0; 1 << 16];
    let mut unpacked = 0;
    while words.named.len() < MAX_NAMES {
        let count = reader.read(&mut chunk).map_err(reading)?;
        if count == 0 {
            break;
        }
        unpacked += count as u64;
        for byte in chunk.iter().take(count) {
            words.add(*byte);
        }
        files.count_looks(std::mem::take(&mut words.noted))?;
    }
    words.note();
    cancel.check()?;
    if blend::is_packed(&path) {
        *files.unpacking_left() = limit.saturating_sub(unpacked);
    }
    Ok(words.named)
}

/// Paths that end in one name, with `/` between their parts and none at the beginning.
pub type Paths = BTreeSet<String>;

/// The word that is being read, and what was found.
struct Words<'a> {
    extensions: &'a [&'a str],
    /// What is before the name, a `/` behind each part.
    folders: Vec<u8>,
    name: Vec<u8>,
    named: HashMap<String, Paths>,
    paths: usize,
    /// How often a name was found since it was counted last.
    noted: usize,
}

impl Words<'_> {
    fn add(&mut self, byte: u8) {
        if matches!(byte, b'/' | b'\\') {
            self.note();
            self.descend();
        } else if ends_path(byte) {
            self.note();
            self.folders.clear();
            self.name.clear();
        } else if self.name.len() <= MAX_NAME {
            self.name.push(byte);
        }
    }

    /// What was a name is a folder.
    fn descend(&mut self) {
        if self.name.len() > MAX_NAME {
            self.folders.clear();
        } else if !self.name.is_empty() {
            self.folders.append(&mut self.name);
            self.folders.push(b'/');
        }
        self.name.clear();
        while self.folders.len() > MAX_FOLDERS {
            let first = self.folders.iter().position(|byte| *byte == b'/').map_or(0, |at| at + 1);
            self.folders.drain(..first.max(1));
        }
    }

    /// Keeps the name when it is one; what follows the extension is not part of it.
    fn note(&mut self) {
        let bytes = self.name.as_slice();
        if bytes.len() > MAX_NAME || bytes.len() < 3 {
            return;
        }
        let dots = bytes.iter().enumerate().filter(|(at, byte)| *at > 0 && **byte == b'.');
        for (dot, _) in dots.rev().take(MAX_DOTS) {
            let rest = bytes.get(dot + 1..).unwrap_or_default();
            let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            // Binary strings may be followed by a byte that looks like a letter.
            for extension in self.extensions {
                let fits = length == extension.len() || length == extension.len() + 1;
                if fits
                    && rest
                        .get(..extension.len())
                        .is_some_and(|start| start.eq_ignore_ascii_case(extension.as_bytes()))
                {
                    let name = names::decode(bytes.get(..=dot + extension.len()).unwrap_or_default());
                    self.noted += 1;
                    let paths = self.named.entry(name.to_lowercase()).or_default();
                    if paths.is_empty() || (self.paths < MAX_PATHS && paths.len() < MAX_PATHS_OF_ONE) {
                        let new = paths.insert(names::decode(&self.folders) + &name);
                        self.paths += usize::from(new);
                    }
                }
            }
        }
    }
}

fn ends_path(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'@' | b'*' | b'?' | b'<' | b'>' | b'|' | b':' | 0x7f)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::context::Context;
    use crate::intake::Limits;

    fn named_in(content: &[u8]) -> HashMap<String, Paths> {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::new(folder.path(), Limits::default(), Context::default());
        let (index, mut file) = files.create(&["a.fbx"]).unwrap();
        file.write_all(content).unwrap();
        named_files(&mut files, index, TEXTURES).unwrap()
    }

    #[test]
    fn of_a_long_path_the_end_is_kept_and_of_many_paths_not_all() {
        let long = format!("{}body/a.png", "deep/".repeat(10_000));
        let noise = format!("{}/b.png\0", "x".repeat(1000));
        let many = (0..1000).map(|number| format!("{number}/c.png\0")).collect::<Vec<_>>().concat();
        let named = named_in(format!("{long}\0{noise}{many}").as_bytes());
        let [kept] = named["a.png"].iter().collect::<Vec<_>>()[..] else { panic!("{:?}", named["a.png"]) };
        assert!(kept.ends_with("deep/body/a.png") && kept.len() < 600, "{kept}");
        assert_eq!(named["b.png"], Paths::from(["b.png".to_owned()]));
        assert_eq!(named["c.png"].len(), MAX_PATHS_OF_ONE);
    }

    #[test]
    fn names_are_found_among_bytes() {
        let named = named_in(
            b"\x00\x05C:\\art\\Skin Tone.PNGS\x10\x00//textures/b.jpg\x00x.txt\x00\"c.tga\"\xff\xfe",
        );
        let mut paths: Vec<_> = named.into_values().flatten().collect();
        paths.sort();
        assert_eq!(paths, ["art/Skin Tone.PNG", "c.tga", "textures/b.jpg"]);
    }
}
