//! Formats numbers, sizes, durations and names for people.

use crate::domain::Contents;
use crate::domain::report::Counts;

/// `4 212`
pub fn number(value: u64) -> String {
    let digits = value.to_string();
    let groups: Vec<_> = digits.as_bytes().rchunks(3).rev().map(String::from_utf8_lossy).collect();
    groups.join(" ")
}

/// `1 mesh`, `2 meshes`
pub fn count(value: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(value), if value == 1 { one } else { many })
}

/// `12 bytes`, `3.4 kB`, `1.2 MB`
pub fn bytes(value: u64) -> String {
    match value {
        0..1000 => count(value, "byte", "bytes"),
        // 999.95 would be shown as 1000.0.
        1000..999_950 => format!("{:.1} kB", value as f64 / 1e3),
        999_950..999_950_000 => format!("{:.1} MB", value as f64 / 1e6),
        _ => format!("{:.1} GB", value as f64 / 1e9),
    }
}

/// `0.06 s`, `12.3 s`, `2 min 5 s`
pub fn duration(seconds: f64) -> String {
    if seconds < 9.995 {
        return format!("{seconds:.2} s");
    }
    if seconds < 119.95 {
        return format!("{seconds:.1} s");
    }
    let whole = seconds.round() as u64;
    format!("{} min {} s", whole / 60, whole % 60)
}

/// The vertices of a point cloud, which has no other count; 0 if there are triangles.
pub fn points(counts: &Counts) -> u64 {
    if counts.triangles == 0 { counts.vertices } else { 0 }
}

/// What a model holds, without zero counts: `1 mesh, 4 212 triangles, 2 clips`.
pub fn contents(contents: &Contents) -> String {
    let counts = &contents.counts;
    let parts = [
        (counts.meshes, "mesh", "meshes"),
        (counts.triangles, "triangle", "triangles"),
        (points(counts), "vertex", "vertices"),
        (counts.materials, "material", "materials"),
        (counts.textures, "texture", "textures"),
        (counts.bones, "bone", "bones"),
        (counts.blend_shapes, "blend shape", "blend shapes"),
        (counts.clip_count(), "clip", "clips"),
        (counts.cameras, "camera", "cameras"),
        (counts.lights, "light", "lights"),
    ];
    let parts = parts.iter().filter(|(value, ..)| *value > 0);
    let parts: Vec<_> = parts.map(|(value, one, many)| count(*value, one, many)).collect();
    if parts.is_empty() { count(counts.objects, "object", "objects") } else { parts.join(", ") }
}

/// A name on one line: control characters are escaped (`\n`).
pub fn name(text: &str) -> String {
    let shown =
        |letter: char| if letter.is_control() { letter.escape_default().to_string() } else { letter.into() };
    text.chars().map(shown).collect()
}

/// The text shortened to `room` characters by leaving out its middle: `models/…/duck.fbx`.
pub fn cut(text: &str, room: usize) -> String {
    let length = text.chars().count();
    if length <= room {
        return text.to_owned();
    }
    // The end says more than the beginning.
    let end = room.saturating_sub(1) * 2 / 3;
    let begin = room.saturating_sub(end + 1);
    text.chars().take(begin).chain(['…']).chain(text.chars().skip(length - end.min(length))).collect()
}

/// The sentence wrapped between words to lines of `width` characters; all but the first are indented.
pub fn wrap(sentence: &str, width: usize) -> Vec<String> {
    const INDENT: &str = "        ";
    let mut lines = Vec::new();
    let mut line = String::new();
    for word in sentence.split(' ') {
        let begun = !line.trim().is_empty();
        if begun && line.chars().count() + 1 + word.chars().count() > width {
            lines.push(std::mem::replace(&mut line, format!("{INDENT}{word}")));
            continue;
        }
        if begun || word.is_empty() {
            line.push(' ');
        }
        line.push_str(word);
    }
    lines.push(line);
    lines
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Format;
    use crate::domain::report::{Clip, Counts};

    #[test]
    fn numbers_have_grouped_digits() {
        assert_eq!(number(0), "0");
        assert_eq!(number(999), "999");
        assert_eq!(number(4212), "4 212");
        assert_eq!(number(1_234_567), "1 234 567");
    }

    #[test]
    fn sizes_and_times_are_short() {
        assert_eq!(bytes(1), "1 byte");
        assert_eq!(bytes(999_960), "1.0 MB");
        assert_eq!(bytes(104_857_600), "104.9 MB");
        assert_eq!(bytes(5_000_000_000_000), "5000.0 GB");
        assert_eq!(duration(0.061), "0.06 s");
        assert_eq!(duration(12.34), "12.3 s");
        assert_eq!(duration(125.2), "2 min 5 s");
    }

    #[test]
    fn control_characters_in_names_are_escaped() {
        assert_eq!(name("a\nb\u{1b}[2J.fbx"), "a\\nb\\u{1b}[2J.fbx");
        assert_eq!(name("猫 2.fbx"), "猫 2.fbx");
    }

    #[test]
    fn long_names_are_shortened_in_the_middle() {
        assert_eq!(cut("duck.fbx", 8), "duck.fbx");
        let short = cut("models/animals/birds/duck.fbx", 18);
        assert_eq!((short.chars().count(), short.as_str()), (18, "models…ds/duck.fbx"));
        for room in 0..40 {
            let short = cut("猫/猫/猫/猫/猫/猫/猫/猫/猫/猫/猫/猫/猫/猫.fbx", room);
            assert!(short.chars().count() <= room.max(1), "{room}: {short}");
        }
    }

    #[test]
    fn lines_wrap_between_words() {
        assert_eq!(wrap("  lost  2 clips", 40), ["  lost  2 clips"]);
        assert_eq!(
            wrap("  lost  2 clips: stl holds none", 20),
            ["  lost  2 clips: stl", "        holds none"]
        );
        assert_eq!(wrap("averyveryverylongname", 5), ["averyveryverylongname"]);
    }

    #[test]
    fn contents_omit_zero_counts() {
        let mut contents_of = Contents { format: Format::Fbx, bytes: 1, files: 1, counts: Counts::default() };
        assert_eq!(contents(&contents_of), "0 objects");
        contents_of.counts = Counts {
            meshes: 1,
            triangles: 4212,
            vertices: 2200,
            clips: vec![Clip::default(), Clip::default()],
            ..Counts::default()
        };
        assert_eq!(contents(&contents_of), "1 mesh, 4 212 triangles, 2 clips");
    }
}
