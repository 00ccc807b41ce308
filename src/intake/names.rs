//! Names of files that others chose: made safe for a folder, and fit for a sentence.

use crate::domain::Format;

/// Longest file name in bytes; file systems stop at 255, and a suffix may follow.
const MAX_NAME: usize = 200;

/// Longest name in a sentence, in characters.
const MAX_QUOTED: usize = 80;

/// The text of bytes that say nothing of their encoding: UTF-8, else Shift-JIS, else Windows-1252.
///
/// Archives and material libraries of Japanese modelling tools are Shift-JIS to this day. The guess need not be
/// right to be useful: a name and a reference to it are read alike.
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
    let kept: String = name.chars().filter(|c| !is_harmful(*c) && !matches!(c, '/' | '\\')).collect();
    let trimmed = kept.trim_start_matches(|c: char| c == '.' || c.is_whitespace());
    let trimmed = trimmed.trim_end_matches(|c: char| c == '.' || c.is_whitespace());
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

/// A name as it may stand in a sentence: quoted, on one line, not endless.
pub fn quoted(name: &str) -> String {
    let mut shown: String = name.chars().filter(|c| !is_direction(*c)).take(MAX_QUOTED).collect();
    if name.chars().nth(MAX_QUOTED).is_some() {
        shown.push('…');
    }
    format!("{shown:?}")
}

/// The last component of a path that may be of any system.
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

fn is_harmful(c: char) -> bool {
    c.is_control() || is_direction(c)
}

/// Invisible characters that change how the rest of a line is shown.
fn is_direction(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

/// The longest beginning of at most `bytes` bytes.
fn cut(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or(text)
}

/// What a result may be called: the sent name without its extension, and without the `.stl` of an `a.stl.zip`.
pub fn result_name(sent: &str) -> String {
    let (stem, _) = split_extension(base_name(sent));
    let (inner, extension) = split_extension(stem);
    safe(if Format::from_extension(extension).is_some() { inner } else { stem })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_of_any_script_stay_and_control_characters_go() {
        assert_eq!(safe("初音ミク.vrm"), "初音ミク.vrm");
        assert_eq!(safe("two\nlines\t.fbx"), "twolines.fbx");
        assert_eq!(safe("../../etc/passwd"), "etcpasswd");
        assert_eq!(safe("...hidden. "), "hidden");
        assert_eq!(safe("evil\u{202e}bpg.exe"), "evilbpg.exe");
        assert_eq!(safe("\n"), "unnamed");
    }

    #[test]
    fn long_names_keep_their_extension() {
        let name = safe(&format!("{}.gltf", "猫".repeat(300)));
        assert!(name.len() <= MAX_NAME, "{name}");
        assert_eq!(extension(&name), "gltf");
        assert_eq!(safe(&"x".repeat(300)).len(), MAX_NAME);
    }

    #[test]
    fn components_never_leave_the_model() {
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
    fn shift_jis_is_read() {
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
