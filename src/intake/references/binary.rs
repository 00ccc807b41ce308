//! Names of other files in the bytes of a binary file, found without understanding it.

use std::collections::HashMap;
use std::fs;
use std::io::{self, ErrorKind};
use std::path::Path;

use super::super::files::{Files, Resolved};
use super::super::names;
use super::packed;
use crate::domain::ConversionError;
use crate::open::make_private;

/// Extensions of textures, in lower case.
pub const TEXTURES: &[&str] =
    &["png", "jpg", "jpeg", "tga", "bmp", "tif", "tiff", "webp", "dds", "exr", "hdr", "gif", "psd", "jp2"];

/// Extensions of files that hold part of a scene.
pub const LAYERS: &[&str] = &["usd", "usda", "usdc", "usdz", "abc", "blend"];

/// Longest file name that is recognised, in bytes.
const MAX_NAME: usize = 255;

/// Most names taken from one file.
const MAX_NAMES: usize = 2000;

/// Finds the textures that the file at `index` names; with `beside`, puts each next to it under the name it uses,
/// where the FBX importer looks last.
pub fn resolve(files: &mut Files, index: usize, beside: bool) -> Result<(), ConversionError> {
    let (Some(path), Some(item)) = (files.path(index), files.item(index)) else { return Ok(()) };
    if files.items().len() < 2 {
        return Ok(());
    }
    let from = item.name.clone();
    let mut named: Vec<_> = named_files(&path, files.max_unpacked(), TEXTURES)
        .map_err(|error| ConversionError::io("read the model", &error))?
        .into_values()
        .collect();
    named.sort();
    for name in named {
        let Resolved::Found(texture) = files.resolve(&from, &name) else { continue };
        files.take(texture)?;
        if beside {
            put_where_named(files, index, &name, texture)?;
        }
    }
    Ok(())
}

/// Gives a file that was found elsewhere a second name where the binary file at `index` looks for it.
pub fn put_where_named(files: &Files, index: usize, name: &str, found: usize) -> Result<(), ConversionError> {
    let (Some(main), Some(source)) = (files.item(index), files.path(found)) else { return Ok(()) };
    // The name comes from inside the file: only one that is harmless as it is can be made.
    let Some(parts) =
        names::components(name).filter(|parts| parts.iter().all(|part| names::safe(part) == *part))
    else {
        return Ok(());
    };
    let wanted = files.folder().join(main.stored.with_file_name("")).join(parts.join("/"));
    if wanted.exists() {
        return Ok(());
    }
    let put = make_private(wanted.parent().unwrap_or(&wanted)).and_then(|()| second_name(&source, &wanted));
    match put {
        // No such path can be made here, as where a file would be a folder: nobody can look there either.
        Err(error) if UNUSABLE.contains(&error.kind()) => Ok(()),
        put => put.map_err(|error| ConversionError::io("copy a texture", &error)),
    }
}

/// What the file system says of such a path.
const UNUSABLE: [ErrorKind; 3] =
    [ErrorKind::AlreadyExists, ErrorKind::NotADirectory, ErrorKind::InvalidFilename];

/// A second name takes no room, where there are such.
fn second_name(source: &Path, wanted: &Path) -> io::Result<()> {
    fs::hard_link(source, wanted).or_else(|_| fs::copy(source, wanted).map(drop))
}

/// The names with one of `extensions` that occur in the file at `path`, by their lower case. Of one that is packed, `limit`
/// bytes are unpacked.
pub fn named_files(path: &Path, limit: u64, extensions: &[&str]) -> io::Result<HashMap<String, String>> {
    let mut reader = packed::open(path, limit)?;
    let mut named = HashMap::new();
    let mut name: Vec<u8> = Vec::new();
    let mut chunk = vec![0; 1 << 16];
    loop {
        let count = reader.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        for byte in chunk.iter().take(count) {
            if ends_name(*byte) {
                note(&name, extensions, &mut named);
                name.clear();
            } else if name.len() <= MAX_NAME {
                name.push(*byte);
            }
        }
        if named.len() >= MAX_NAMES {
            break;
        }
    }
    note(&name, extensions, &mut named);
    Ok(named)
}

fn ends_name(byte: u8) -> bool {
    byte < 0x20 || matches!(byte, b'/' | b'\\' | b'"' | b'@' | b'*' | b'?' | b'<' | b'>' | b'|' | b':' | 0x7f)
}

/// Keeps the bytes when they are a name; what follows the extension is not part of it.
fn note(bytes: &[u8], extensions: &[&str], named: &mut HashMap<String, String>) {
    if bytes.len() > MAX_NAME || bytes.len() < 3 {
        return;
    }
    for (dot, _) in bytes.iter().enumerate().filter(|(at, byte)| *at > 0 && **byte == b'.') {
        let rest = bytes.get(dot + 1..).unwrap_or_default();
        let length = rest.iter().take_while(|byte| byte.is_ascii_alphanumeric()).count();
        // Binary strings may be followed by a byte that looks like a letter.
        for extension in extensions {
            let fits = length == extension.len() || length == extension.len() + 1;
            if fits
                && rest
                    .get(..extension.len())
                    .is_some_and(|start| start.eq_ignore_ascii_case(extension.as_bytes()))
            {
                let name = names::decode(bytes.get(..=dot + extension.len()).unwrap_or_default());
                named.insert(name.to_lowercase(), name);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_among_bytes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.fbx");
        fs::write(
            &path,
            b"\x00\x05C:\\art\\Skin Tone.PNGS\x10\x00//textures/b.jpg\x00x.txt\x00\"c.tga\"\xff\xfe",
        )
        .unwrap();
        let mut names: Vec<_> = named_files(&path, 0, TEXTURES).unwrap().into_values().collect();
        names.sort();
        assert_eq!(names, ["Skin Tone.PNG", "b.jpg", "c.tga"]);
    }
}
