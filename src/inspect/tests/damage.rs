//! Whatever happens to a file, its reader answers.

use proptest::collection::vec;
use proptest::prelude::*;

use super::{ASCII_PLY, ASCII_STL, BVH, MTL, OBJ, binary_ply, binary_stl, gltf, read_with};
use crate::domain::ErrorCode;

fn sound_files() -> Vec<(&'static str, Vec<u8>)> {
    let glb = gltf::everything();
    let json_end = 20 + u32::from_le_bytes(glb[12..16].try_into().unwrap()) as usize;
    vec![
        ("a.gltf", glb[20..json_end].to_vec()),
        ("a.glb", glb),
        ("a.obj", OBJ.into()),
        ("a.stl", ASCII_STL.into()),
        ("b.stl", binary_stl()),
        ("a.ply", ASCII_PLY.into()),
        ("b.ply", binary_ply(false)),
        ("c.ply", binary_ply(true)),
        ("a.bvh", BVH.into()),
    ]
}

/// An answer is a count, or the file's own fault.
fn answers(name: &str, content: &[u8]) -> Result<(), TestCaseError> {
    if let Err(error) = read_with(name, content, &[("m.mtl", MTL)]) {
        let fault = matches!(error.code, ErrorCode::ImportFailed | ErrorCode::MissingFiles);
        prop_assert!(fault, "{}: {}", error.code, error.detail);
        prop_assert!(!error.detail.ends_with('.') && !error.detail.contains('\n'), "{}", error.detail);
    }
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 300, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn random_bytes_cause_no_panic(content in vec(any::<u8>(), 0..300)) {
        for (name, _) in sound_files() {
            answers(name, &content)?;
        }
    }

    #[test]
    fn damaged_and_truncated_files_cause_no_panic(
        cut in proptest::option::of(0.0..1.0_f64),
        flips in vec((0.0..1.0_f64, any::<u8>()), 1..5),
    ) {
        for (name, mut content) in sound_files() {
            if let Some(cut) = cut {
                content.truncate((content.len() as f64 * cut) as usize);
            }
            let length = content.len() as f64;
            for (place, value) in &flips {
                if let Some(byte) = content.get_mut((length * place) as usize) {
                    *byte = *value;
                }
            }
            answers(name, &content)?;
        }
    }

    /// Digits are where indices and counts are: exchanging these finds what flips of any byte rarely do.
    #[test]
    fn changed_digits_cause_no_panic(places in vec((0.0..1.0_f64, b'0'..=b'9'), 1..6)) {
        for (name, mut content) in sound_files() {
            let digits: Vec<usize> = (0..content.len()).filter(|at| content[*at].is_ascii_digit()).collect();
            for (place, digit) in &places {
                if let Some(at) = digits.get((digits.len() as f64 * place) as usize) {
                    content[*at] = *digit;
                }
            }
            answers(name, &content)?;
        }
    }
}
