//! Finds names of other files in the bytes of a binary file without parsing it.

use std::collections::{BTreeSet, HashMap};
use std::fs;
use std::io::{self, ErrorKind};

use super::findings::Findings;
use crate::domain::ConversionError;
use crate::formats::blend;
use crate::fs::names;
use crate::fs::open::make_private;
use crate::intake::model_files::{Candidates, Files};
use crate::intake::source::unreadable;

/// Extensions of textures, in lower case.
pub const TEXTURES: &[&str] =
    &["png", "jpg", "jpeg", "tga", "bmp", "tif", "tiff", "webp", "dds", "exr", "hdr", "gif", "psd", "jp2"];

/// Extensions of files that hold part of a scene.
pub const LAYERS: &[&str] = &["usd", "usda", "usdc", "usdz", "abc", "blend"];

/// Longest file name that is recognised, in bytes.
const MAX_NAME: usize = 255;

/// Number of dots, from the end of a name, after which an extension is searched: other data may follow the extension.
const MAX_DOTS: usize = 4;

/// Most names that are taken from one file, most paths that end in them, and most paths that end in one of them.
const MAX_NAMES: usize = 2000;
const MAX_PATHS: usize = 8000;
const MAX_PATHS_OF_ONE: usize = 64;

/// Longest path of the folders before a name that is kept, in bytes.
const MAX_FOLDERS: usize = 512;

/// Most files that are taken where a path may mean any of them.
const MAX_RIVALS: usize = 4;

/// Finds the textures that the file at `index` names. With `beside`, puts each next to it under every name it uses,
/// where the FBX importer looks last, except where several files may be meant: the engine then tells these apart by
/// their folders, and a warning says where the importer may take the wrong one.
pub fn resolve(
    files: &mut Files,
    index: usize,
    beside: bool,
    findings: &mut Findings,
) -> Result<(), ConversionError> {
    if files.items().len() < 2 {
        return Ok(());
    }
    let mut named: Vec<Paths> = named_files(files, index, TEXTURES)?.into_values().collect();
    named.sort();
    for paths in named {
        let (exact, likely) = find_candidates(files, index, &paths)?;
        let candidates: Vec<usize> = exact.union(&likely).copied().collect();
        for texture in &candidates {
            files.take(*texture)?;
        }
        if !beside {
            continue;
        }
        let own_names: BTreeSet<&str> = paths.iter().map(|path| names::base_name(path)).collect();
        let folder = |index: usize| files.items()[index].stored.parent();
        match candidates[..] {
            [only] => {
                for name in own_names {
                    link_to_name(files, index, name, only)?;
                }
            }
            // The importer takes a file in its own folder for every path that does not exist.
            [_, _, ..] if candidates.iter().any(|texture| folder(*texture) == folder(index)) => {
                if let (Some(name), false) = (own_names.first(), likely.is_subset(&exact)) {
                    // The engine uses this warning as well (`materials/texture_files.py`).
                    findings
                        .warn(format!("several files may be the texture {name}; it may be the wrong one"));
                }
            }
            _ => {}
        }
    }
    Ok(())
}

/// Finds the files that paths with one name may mean: those whose path is one of these, and those that share the
/// longest path suffix with one of these.
fn find_candidates(
    files: &mut Files,
    index: usize,
    paths: &Paths,
) -> Result<(BTreeSet<usize>, BTreeSet<usize>), ConversionError> {
    let is_suffix = |path: &str| {
        paths.iter().any(|other| other.strip_suffix(path).is_some_and(|folders| folders.ends_with('/')))
    };
    let (mut exact, mut likely) = (BTreeSet::new(), BTreeSet::new());
    for path in paths {
        match files.find(index, path)? {
            Candidates::Exactly(found) => _ = exact.insert(found),
            Candidates::Likely(found) if !is_suffix(path) => {
                likely.extend(found.into_iter().take(MAX_RIVALS));
            }
            _ => {}
        }
    }
    Ok((exact, likely))
}

/// Links the file `found` to the path `name` where the binary file at `index` looks for it. Beyond the limit on such
/// links, the texture counts as missing.
///
/// # Errors
/// `io`, `too_large`
pub fn link_to_name(
    files: &mut Files,
    index: usize,
    name: &str,
    found: usize,
) -> Result<(), ConversionError> {
    let Some(source) = files.path(found) else { return Ok(()) };
    // The name comes from the file itself: only a harmless one may be made.
    let Some(parts) =
        names::components(name).filter(|parts| parts.iter().all(|part| names::safe(part) == *part))
    else {
        return Ok(());
    };
    let folder = files.items()[index].stored.with_file_name("");
    let wanted = files.folder().join(folder).join(parts.join("/"));
    if wanted.exists() || !files.may_link(parts.len()) {
        return Ok(());
    }
    match make_private(wanted.parent().unwrap_or(&wanted)).and_then(|()| fs::hard_link(&source, &wanted)) {
        Ok(()) => Ok(()),
        // The path cannot exist, such as where a folder would be a file: nothing can look there either.
        Err(error) if UNUSABLE.contains(&error.kind()) => Ok(()),
        // The file system has no hard links: the copy counts as the model's.
        Err(_) => {
            let copying = |error: io::Error| ConversionError::io("copy a texture", &error);
            files.count_copy(fs::metadata(&source).map_err(copying)?.len())?;
            fs::copy(&source, &wanted).map(drop).map_err(copying)
        }
    }
}

/// Errors of the file system for a path that cannot exist.
const UNUSABLE: [ErrorKind; 3] =
    [ErrorKind::AlreadyExists, ErrorKind::NotADirectory, ErrorKind::InvalidFilename];

/// Finds the names with one of `extensions` in the file at `index`; returns them in lower case, each with the paths
/// that end in it, as far as these are recognised. Unpacking counts against the limit of the whole model.
///
/// # Errors
/// `io`, `too_large`, `cancelled`
pub fn named_files(
    files: &mut Files,
    index: usize,
    extensions: &[&str],
) -> Result<HashMap<String, Paths>, ConversionError> {
    let cancel = files.context().cancel.clone();
    let Some(path) = files.path(index) else { return Ok(HashMap::new()) };
    let limit = *files.unpacking_left();
    let mut reader = blend::open(&path, limit, &cancel).map_err(unreadable)?;
    let mut words = Words { extensions, ..Words::default() };
    let mut chunk = vec![0; 1 << 16];
    let mut unpacked = 0;
    while words.named.len() < MAX_NAMES {
        let count = reader.read(&mut chunk).map_err(unreadable)?;
        if count == 0 {
            break;
        }
        unpacked += count as u64;
        chunk.iter().take(count).for_each(|byte| words.add(*byte));
        files.count_steps(std::mem::take(&mut words.noted))?;
    }
    words.note();
    cancel.check()?;
    if blend::is_compressed(&path) {
        *files.unpacking_left() = limit.saturating_sub(unpacked);
    }
    Ok(words.named)
}

/// Paths that end in one name, with `/` between their parts but not at the beginning.
pub type Paths = BTreeSet<String>;

/// Collects names from bytes that come one by one.
#[derive(Default)]
struct Words<'a> {
    extensions: &'a [&'a str],
    /// The folders before the name, each with a `/` at its end.
    folders: Vec<u8>,
    name: Vec<u8>,
    named: HashMap<String, Paths>,
    /// Number of paths in `named`.
    paths: usize,
    /// Number of names that were found since `count_steps`.
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

    /// Adds the name to the folders.
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

    /// Keeps the name up to its extension, if it has one of those looked for.
    fn note(&mut self) {
        let bytes = self.name.as_slice();
        if bytes.len() > MAX_NAME || bytes.len() < 3 {
            return;
        }
        let dots = bytes.iter().enumerate().filter(|(at, byte)| *at > 0 && **byte == b'.');
        for (dot, _) in dots.rev().take(MAX_DOTS) {
            let rest = &bytes[dot + 1..];
            let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
            // The byte after a binary string may look like a letter.
            for extension in self.extensions {
                let fits = length == extension.len() || length == extension.len() + 1;
                if !fits || !rest[..extension.len()].eq_ignore_ascii_case(extension.as_bytes()) {
                    continue;
                }
                let name = names::decode(&bytes[..=dot + extension.len()]);
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

fn ends_path(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'"' | b'@' | b'*' | b'?' | b'<' | b'>' | b'|' | b':' | 0x7f)
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use super::*;
    use crate::context::Context;
    use crate::intake::ModelLimits;

    fn named_in(content: &[u8]) -> HashMap<String, Paths> {
        let folder = tempfile::tempdir().unwrap();
        let mut files = Files::new(folder.path(), ModelLimits::default(), Context::default());
        let (index, mut file) = files.create(&["a.fbx"]).unwrap();
        file.write_all(content).unwrap();
        named_files(&mut files, index, TEXTURES).unwrap()
    }

    #[test]
    fn long_paths_keep_their_end_and_excess_is_dropped() {
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
    fn file_names_are_found_in_binary_data() {
        let named = named_in(
            b"\x00\x05C:\\art\\Skin Tone.PNGS\x10\x00//textures/b.jpg\x00x.txt\x00\"c.tga\"\xff\xfe",
        );
        let mut paths: Vec<_> = named.into_values().flatten().collect();
        paths.sort();
        assert_eq!(paths, ["art/Skin Tone.PNG", "c.tga", "textures/b.jpg"]);
    }
}
