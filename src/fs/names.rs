//! Makes file names that others chose safe: for a folder, for results on every system, and for a sentence.

use std::path::{Component, Path, PathBuf};

use crate::domain::Format;

/// Longest file name in bytes; file systems stop at 255, and a suffix may follow.
const MAX_NAME: usize = 200;

/// Characters that Windows forbids in names, besides those that are safe nowhere.
const NOT_ON_WINDOWS: &[char] = &['<', '>', ':', '"', '|', '?', '*'];

/// Names that are devices on Windows, whatever extension follows.
const DEVICES: &[&str] = &["con", "prn", "aux", "nul", "conin$", "conout$", "clock$"];

/// Longest name in a sentence, in characters.
const MAX_QUOTED: usize = 80;

/// Decodes bytes of unknown encoding: as UTF-8, else Shift-JIS, else Windows-1252.
///
/// Archives and material libraries of Japanese modelling tools are Shift-JIS to this day. The guess need not be right
/// to be useful: a name and a reference to it are decoded alike.
pub fn decode(bytes: &[u8]) -> String {
    if let Ok(text) = std::str::from_utf8(bytes) {
        return text.to_owned();
    }
    encoding_rs::SHIFT_JIS
        .decode_without_bom_handling_and_without_replacement(bytes)
        .unwrap_or_else(|| encoding_rs::WINDOWS_1252.decode_without_bom_handling(bytes).0)
        .into_owned()
}

/// One file or folder name that is safe to create: no separators, no control or direction characters,
/// no leading dot, at most 200 bytes with its extension kept. Letters of any script stay.
pub fn safe(name: &str) -> String {
    let harmful = |c: char| c.is_control() || is_direction(c) || matches!(c, '/' | '\\');
    let kept: String = name.chars().filter(|c| !harmful(*c)).collect();
    let trimmed = kept.trim_matches(|c: char| c == '.' || c.is_whitespace());
    if trimmed.is_empty() {
        return "unnamed".to_owned();
    }
    if trimmed.len() <= MAX_NAME {
        return trimmed.to_owned();
    }
    let (stem, extension) = split_extension(trimmed);
    if extension.is_empty() || extension.len() > 16 {
        return cut(trimmed, MAX_NAME).to_owned();
    }
    format!("{}.{extension}", cut(stem, MAX_NAME - extension.len() - 1))
}

/// One part of a result's name: as [`safe`], and usable on Windows, too. Every name that a client gets (in a zip, in
/// a folder, in a header) consists of such parts.
pub fn portable(name: &str) -> String {
    let name: String = name.chars().map(|c| if NOT_ON_WINDOWS.contains(&c) { '_' } else { c }).collect();
    let name = safe(&name);
    // Windows checks only the part before the first dot.
    let device = name.split('.').next().unwrap_or_default().trim_end().to_ascii_lowercase();
    if is_device(&device) { safe(&format!("_{name}")) } else { name }
}

fn is_device(stem: &str) -> bool {
    let numbered = stem.strip_prefix("com").or_else(|| stem.strip_prefix("lpt"));
    let is_digit = |c| matches!(c, '0'..='9' | '¹' | '²' | '³');
    DEVICES.contains(&stem)
        || numbered.is_some_and(|rest| rest.starts_with(is_digit) && rest.chars().count() == 1)
}

/// The file's name with a number before its extension, no longer than a name may be.
pub fn numbered(name: &str, number: u64) -> String {
    let (stem, extension) = split_extension(name);
    let dot = if extension.is_empty() { "" } else { "." };
    let end = format!("-{number}{dot}{extension}");
    format!("{}{end}", cut(stem, MAX_NAME.saturating_sub(end.len())))
}

/// A relative path whose parts are [`portable`], without `..`.
pub fn portable_path(path: &Path) -> PathBuf {
    let parts = path.components().filter_map(|part| match part {
        Component::Normal(name) => Some(portable(&name.to_string_lossy())),
        _ => None,
    });
    parts.collect()
}

/// Quotes a name for a sentence: on one line, and of limited length.
pub fn quoted(name: &str) -> String {
    let mut shown: String = name.chars().filter(|c| !is_direction(*c)).take(MAX_QUOTED).collect();
    if name.chars().nth(MAX_QUOTED).is_some() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The last component of a path of any system.
pub fn base_name(path: &str) -> &str {
    path.trim_end_matches(['/', '\\']).rsplit(['/', '\\']).next().unwrap_or(path)
}

/// Stem and extension (without the dot; empty when there is none).
pub fn split_extension(name: &str) -> (&str, &str) {
    match name.rsplit_once('.') {
        Some((stem, extension)) if !stem.is_empty() => (stem, extension),
        _ => (name, ""),
    }
}

/// The extension in lower case, without the dot; empty when there is none.
pub fn extension(name: &str) -> String {
    split_extension(base_name(name)).1.to_ascii_lowercase()
}

/// The components of a path inside a model, `..` resolved, or `None` when it leaves the model:
/// it is absolute, names a drive or a URL, or climbs above the top.
pub fn components(path: &str) -> Option<Vec<&str>> {
    if path.starts_with(['/', '\\']) || has_scheme_or_drive(path) || path.contains('\0') {
        return None;
    }
    let mut parts = Vec::new();
    for part in path.split(['/', '\\']) {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop()?;
            }
            _ => parts.push(part),
        }
    }
    Some(parts)
}

/// Whether the path begins with `http:`, `file:`, `C:` or the like.
pub fn has_scheme_or_drive(path: &str) -> bool {
    let Some((scheme, _)) = path.split_once(':') else { return false };
    scheme.starts_with(|c: char| c.is_ascii_alphabetic())
        && scheme.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '+' | '-' | '.'))
}

/// Invisible characters that change how the rest of a line is shown.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The longest prefix of at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// The name of a result: the sent name without its extension, and without the `.stl` of an `a.stl.zip`.
pub fn result_name(sent: &str) -> String {
    let (stem, _) = split_extension(base_name(sent));
    let (inner, extension) = split_extension(stem);
    portable(if Format::from_extension(extension).is_some() { inner } else { stem })
}

/// Whether a file was left behind by a system and sent unintentionally.
pub fn is_junk(parts: &[&str]) -> bool {
    parts.iter().any(|part| {
        part.starts_with('.')
            || part.eq_ignore_ascii_case("__MACOSX")
            || part.eq_ignore_ascii_case("Thumbs.db")
            || part.eq_ignore_ascii_case("desktop.ini")
    })
}

/// Lists the first `most` names, and how many more there are.
pub fn listed(names: &[impl AsRef<str>], most: usize) -> String {
    let shown = names.iter().take(most).map(AsRef::as_ref).collect::<Vec<_>>().join(", ");
    match names.len().saturating_sub(most) {
        0 => shown,
        more => format!("{shown} and {more} more"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_keep_any_script_but_lose_control_characters() {
        assert_eq!(safe("初音ミク.vrm"), "初音ミク.vrm");
        assert_eq!(safe("two\nlines\t.fbx"), "twolines.fbx");
        assert_eq!(safe("../../etc/passwd"), "etcpasswd");
        assert_eq!(safe("...hidden. "), "hidden");
        assert_eq!(safe("evil\u{202e}bpg.exe"), "evilbpg.exe");
        assert_eq!(safe("\n"), "unnamed");
    }

    #[test]
    fn result_names_are_safe_on_every_system() {
        for (name, expected) in [
            ("wood.png", "wood.png"),
            ("初音ミク 2.0.png", "初音ミク 2.0.png"),
            (".bashrc", "bashrc"),
            ("..\\x", "x"),
            ("C:\\a*?.png", "C_a__.png"),
            ("AUX", "_AUX"),
            ("aux.tar.png", "_aux.tar.png"),
            ("com1 .png", "_com1 .png"),
            ("lpt\u{b9}.png", "_lpt\u{b9}.png"),
            ("com10.png", "com10.png"),
            ("console.png", "console.png"),
            ("a\u{202e}gnp.exe\n ", "agnp.exe"),
            ("..", "unnamed"),
            ("", "unnamed"),
        ] {
            assert_eq!(portable(name), expected, "{name:?}");
        }
        for name in ["x".repeat(300), format!("con.{}", "x".repeat(300)), format!("a.{}", "猫".repeat(90))] {
            let made = portable(&name);
            assert!(made.len() <= MAX_NAME && portable(&made) == made, "{made}");
        }
        assert_eq!(portable_path(Path::new("../.git/./hooks/a")), Path::new("git/hooks/a"));
        assert_eq!(numbered("a.b.png", 2), "a.b-2.png");
        assert_eq!(numbered("a", 12), "a-12");
        assert_eq!(numbered(&"x".repeat(MAX_NAME), 12).len(), MAX_NAME);
    }

    #[test]
    fn long_names_keep_their_extension() {
        let name = safe(&format!("{}.gltf", "猫".repeat(300)));
        assert!(name.len() <= MAX_NAME, "{name}");
        assert_eq!(extension(&name), "gltf");
        assert_eq!(safe(&"x".repeat(300)).len(), MAX_NAME);
    }

    #[test]
    fn path_components_never_leave_the_model_folder() {
        assert_eq!(components("a/./b//../c.png"), Some(vec!["a", "c.png"]));
        assert_eq!(components("a\\b.png"), Some(vec!["a", "b.png"]));
        for outside in [
            "/etc/passwd",
            "..",
            "a/../../b",
            "C:\\art\\t.png",
            "http://x/y",
            "file:a",
            "\\\\host\\x",
            "a\0b",
        ] {
            assert_eq!(components(outside), None, "{outside}");
        }
        assert_eq!(components("1:2.png"), Some(vec!["1:2.png"]));
    }

    #[test]
    fn shift_jis_names_are_decoded() {
        assert_eq!(decode(b"\x83\x65\x83\x4e.png"), "テク.png");
        assert_eq!(decode(b"caf\xe9.png"), "café.png");
        assert_eq!(decode("猫".as_bytes()), "猫");
    }

    #[test]
    fn quoted_names_stay_on_one_line() {
        assert_eq!(quoted("a\n\"b"), r#""a\n\"b""#);
        assert!(quoted(&"x".repeat(500)).chars().count() < 90);
    }
}
