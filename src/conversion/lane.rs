//! Tells before a conversion whether it needs Blender, as far as the names and the content of its files tell.

use crate::domain::format::TABLE;
use crate::domain::{Cancel, Format, Options};
use crate::fs::names;
use crate::intake::{Detected, NamedFile, detect_sent};
use crate::repack;

/// Whether a model may be converted by the native lane, whose format is `named`, or is not known.
pub(super) fn may_be_native(named: Option<Format>, target: Format, options: &Options) -> bool {
    let may_be = |format: Format| named.is_none_or(|named| named == format);
    TABLE.iter().any(|info| may_be(info.format) && repack::can(info.format, target, options))
}

/// The same for a file with this name.
pub(super) fn may_be_native_by_name(name: &str, target: Format, options: &Options) -> bool {
    may_be_native(Format::from_extension(&names::extension(name)), target, options)
}

/// Whether the conversion of these files certainly needs no Blender: the native lane converts each model among them, or
/// none can be read. A zip is not looked into.
pub(super) fn is_native(files: &[NamedFile], target: Format, options: &Options, cancel: &Cancel) -> bool {
    files.iter().all(|file| match detect_sent(file, cancel) {
        Ok(Detected::Model(format)) => repack::can(format, target, options),
        Ok(Detected::Zip) => false,
        // Beside a model, it may be one of its textures or buffers.
        Err(_) => true,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;
    use crate::domain::options::EngineChoice;
    use crate::intake::FileSource;

    const GLTF: &str = r#"{"asset": {"version": "2.0"}}"#;
    const OBJ: &str = "v 0 0 0\nv 1 0 0\nv 0 1 0\nf 1 2 3\n";

    /// Whether a conversion of these files, each a name and its content, is native.
    fn native(files: &[(&str, &str)], target: Format, options: &Options) -> bool {
        let folder = tempfile::tempdir().unwrap();
        let sent = |(name, content): &(&str, &str)| {
            let path = folder.path().join(name);
            fs::write(&path, content).unwrap();
            NamedFile { name: (*name).to_owned(), file: FileSource::ConversionFile(path) }
        };
        let files: Vec<_> = files.iter().map(sent).collect();
        is_native(&files, target, options, &Cancel::default())
    }

    #[test]
    fn the_content_decides_what_is_native() {
        let usual = Options::default();
        let texture = ("a.png", "\u{89}PNG");
        for (files, expected) in [
            (&[("a.gltf", GLTF)][..], true),
            (&[("a.gltf", GLTF), ("a.bin", "0123"), texture], true),
            (&[("a", GLTF)], true),
            (&[("a.gltf", OBJ)], false),
            (&[("a.obj", OBJ), texture], false),
            (&[("a.gltf", GLTF), ("b.obj", OBJ)], false),
            (&[("a.zip", "PK\x03\x04")], false),
            // Its error needs no engine.
            (&[("a.gltf", "no model at all")], true),
        ] {
            assert_eq!(native(files, Format::Glb, &usual), expected, "{files:?}");
        }
        assert!(!native(&[("a.gltf", GLTF)], Format::Fbx, &usual));
        let blender = Options { engine: EngineChoice::Blender, ..usual };
        assert!(!native(&[("a.gltf", GLTF)], Format::Glb, &blender));
    }

    #[test]
    fn names_tell_what_cannot_be_native() {
        let usual = Options::default();
        for (name, target, expected) in [
            ("a.glb", Format::Gltf, true),
            ("a.zip", Format::Gltf, true),
            ("", Format::Gltf, true),
            ("a.obj", Format::Gltf, false),
            ("a.glb", Format::Fbx, false),
            ("", Format::Fbx, false),
        ] {
            assert_eq!(may_be_native_by_name(name, target, &usual), expected, "{name:?} {target}");
        }
    }
}
