//! Describes content that is not a model, so that a person learns which wrong file was uploaded.

use crate::formats::blend;

/// First bytes of files that are not models.
const BEGINNINGS: &[(&[u8], &str)] = &[
    (b"\x89PNG\r\n\x1a\n", "a PNG image"),
    (b"\xff\xd8\xff", "a JPEG image"),
    (b"GIF8", "a GIF image"),
    (b"8BPS", "a Photoshop document"),
    (b"II*\0", "a TIFF image"),
    (b"MM\0*", "a TIFF image"),
    (b"DDS ", "a DDS image"),
    (b"\x76\x2f\x31\x01", "an OpenEXR image"),
    (b"#?RADIANCE", "an HDR image"),
    (b"%PDF", "a PDF document"),
    (b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1", "a 3ds Max scene or an Office document"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; send a zip instead"),
    (b"Rar!", "a RAR archive; send a zip instead"),
    (blend::GZIP, "gzip-compressed data; unpack it first"),
    (blend::ZSTD, "zstd-compressed data; unpack it first"),
    (b"\x7fELF", "a program"),
    (b"MZ", "a Windows program"),
    (b"OggS", "an Ogg recording"),
    (b"ID3", "an MP3 recording"),
    (b"Vocaloid Motion Data", "a MikuMikuDance motion (vmd), which cannot be read"),
    (b"PMX ", "a MikuMikuDance model (pmx), which cannot be read"),
    (b"Pmd", "a MikuMikuDance model (pmd), which cannot be read"),
    (b"DRACO", "a bare Draco mesh, which cannot be read"),
    (b"FOR4", "a Maya binary scene, which cannot be read"),
    (b"FOR8", "a Maya binary scene, which cannot be read"),
    (b"xof ", "a DirectX model (x), which cannot be read"),
];

/// Words in the first lines of text files that Meshgate cannot read.
const WORDS: &[(&str, &str)] = &[
    ("<collada", "a Collada model (dae), which cannot be read"),
    ("<x3d", "an X3D model, which cannot be read"),
    ("#vrml", "a VRML model (wrl), which cannot be read"),
    ("//maya ascii", "a Maya scene, which cannot be read"),
    ("iso-10303-21", "a STEP model, which cannot be read"),
    ("newmtl ", "a material library (mtl) without its model"),
    ("<!doctype html", "a web page"),
    ("<html", "a web page"),
    ("<svg", "an SVG drawing"),
    ("<?xml", "XML in an unknown format"),
    ("version https://git-lfs", "a Git LFS pointer instead of the file itself"),
];

/// Describes content by its first bytes; `None` if they are not in the table.
pub fn by_magic(head: &[u8]) -> Option<&'static str> {
    BEGINNINGS.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| *what)
}

/// Describes the beginning of a file's content; completes the sentence "the file is …".
pub fn describe(head: &[u8]) -> &'static str {
    if let Some(description) = by_magic(head) {
        return description;
    }
    match head.get(..12) {
        Some([b'R', b'I', b'F', b'F', .., b'W', b'E', b'B', b'P']) => return "a WebP image",
        Some([b'R', b'I', b'F', b'F', ..]) => return "a recording",
        Some([_, _, _, _, b'f', b't', b'y', b'p', ..]) => return "a video",
        _ => {}
    }
    if !is_text(head) {
        return if head.starts_with(b"BM") { "a BMP image" } else { "in an unknown format" };
    }
    let text = String::from_utf8_lossy(head).to_ascii_lowercase();
    WORDS.iter().find(|(word, _)| text.contains(word)).map_or("text in an unknown format", |(_, what)| what)
}

/// Whether the bytes look like text in an encoding that extends ASCII.
pub fn is_text(head: &[u8]) -> bool {
    !head.iter().any(|byte| *byte < 0x20 && !matches!(byte, b'\t' | b'\n' | b'\r' | 0x0c | 0x1a))
}
