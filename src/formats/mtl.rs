//! Statements of material libraries (MTL).

use super::text::statement;

/// How many values the options of a texture statement take at most.
const OPTIONS: [(usize, &[&str]); 3] = [
    (1, &["-blendu", "-blendv", "-bm", "-boost", "-cc", "-clamp", "-imfchan", "-texres", "-type"]),
    (2, &["-mm"]),
    (3, &["-o", "-s", "-t"]),
];

/// Splits a texture statement such as `map_Kd -s 2 2 my wood.png` before the name of the file; `None` for other lines.
pub fn texture_name(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let (keyword, mut rest) = statement(line);
    let lower = keyword.to_ascii_lowercase();
    if !lower.starts_with(b"map_")
        && !matches!(lower.as_slice(), b"bump" | b"norm" | b"disp" | b"decal" | b"refl")
    {
        return None;
    }
    while let (option, after) = statement(rest)
        && let Some((most, _)) =
            OPTIONS.iter().find(|(_, names)| names.iter().any(|name| option == name.as_bytes()))
    {
        rest = after;
        for number in 0..*most {
            let (value, after) = statement(rest);
            let is_number = std::str::from_utf8(value).is_ok_and(|value| value.parse::<f32>().is_ok());
            // The first value may be a word (`-clamp on`); further ones are optional numbers. The name comes last.
            if after.is_empty() || (number > 0 && !is_number) {
                break;
            }
            rest = after;
        }
    }
    if rest.is_empty() {
        return None;
    }
    let at = line.trim_ascii_end().len().checked_sub(rest.len())?;
    Some((line.get(..at)?, rest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_comes_after_the_options() {
        for (line, name) in [
            ("map_Kd wood.png", "wood.png"),
            ("map_Kd -s 2 2 2 -o 0.5 0 my wood.png", "my wood.png"),
            ("bump -bm 0.3 -mm 0 1 bump.png", "bump.png"),
            ("\tmap_Kd  -clamp on textures/wood.png \r\n", "textures/wood.png"),
        ] {
            let (before, found) = texture_name(line.as_bytes()).unwrap();
            assert_eq!(found, name.as_bytes(), "{line}");
            assert!(line.starts_with(&format!("{}{name}", String::from_utf8_lossy(before))), "{line}");
        }
        assert_eq!(texture_name(b"map_Kd -bm"), None);
        assert_eq!(texture_name(b"Kd 1 1 1"), None);
    }
}
