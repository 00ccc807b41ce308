use std::io::{Cursor, Write};

use flate2::Compression;
use flate2::write::GzEncoder;
use meshgate::domain::{ErrorCode, Format};
use meshgate::intake::detect::{Detected, detect, name_mismatch};
use proptest::prelude::*;
use ruzstd::encoding::{CompressionLevel, compress_to_vec};

use super::{Desk, OBJ, glb_of, zip_of};

fn fbx(version: u32) -> Vec<u8> {
    [b"Kaydara FBX Binary  \0\x1a\0".as_slice(), &version.to_le_bytes(), &[0; 40]].concat()
}

fn binary_stl(triangles: u32) -> Vec<u8> {
    let mut stl = b"solid made by a tool that says solid".to_vec();
    stl.resize(80, 0);
    stl.extend(triangles.to_le_bytes());
    stl.resize(84 + 50 * triangles as usize, 0);
    stl
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut compressed = GzEncoder::new(Vec::new(), Compression::default());
    compressed.write_all(content).unwrap();
    compressed.finish().unwrap()
}

fn usdz() -> Vec<u8> {
    let mut zip = zip::ZipWriter::new(Cursor::new(Vec::new()));
    let stored = zip::write::SimpleFileOptions::default().compression_method(zip::CompressionMethod::Stored);
    zip.start_file("scene.usda", stored.with_alignment(64)).unwrap();
    zip.write_all(b"#usda 1.0\n").unwrap();
    zip.finish().unwrap().into_inner()
}

fn formats() -> Vec<(Vec<u8>, &'static str, Detected)> {
    use Detected::{Model, Zip};
    let json = |extra: &str| format!(r#"{{"asset":{{"version":"2.0"}}{extra}}}"#);
    vec![
        (fbx(7400), "a.fbx", Model(Format::Fbx)),
        (b"; FBX 6.1.0 project file\n".to_vec(), "a.bin", Model(Format::Fbx)),
        (b"FBXHeaderExtension:  {\n".to_vec(), "a", Model(Format::Fbx)),
        (OBJ.into(), "a", Model(Format::Obj)),
        (b"# nothing but a comment\n".to_vec(), "empty.obj", Model(Format::Obj)),
        (b"#USDA export\nv 0 0 0\n".to_vec(), "a.obj", Model(Format::Obj)),
        (b"mtllib a.mtl\no box\n".to_vec(), "a.txt", Model(Format::Obj)),
        (json("").into(), "a", Model(Format::Gltf)),
        (format!("\u{feff} {}", json("")).into(), "a.gltf", Model(Format::Gltf)),
        (glb_of(&json(""), b""), "a.glb", Model(Format::Glb)),
        (glb_of(&json(r#","extensionsUsed":["VRM"]"#), b""), "a", Model(Format::Vrm)),
        (glb_of(&json(r#","extensions":{"VRMC_vrm":{}}"#), b""), "a", Model(Format::Vrm)),
        (glb_of(&json(r#","extensionsUsed":["VRMC_vrm_animation"]"#), b""), "a", Model(Format::Vrma)),
        (b"HIERARCHY\r\nROOT Hips\r\n".to_vec(), "a", Model(Format::Bvh)),
        (b"#usda 1.0\n".to_vec(), "a.usda", Model(Format::Usda)),
        (b"#usda 1.0\n".to_vec(), "a.usd", Model(Format::Usd)),
        (b"PXR-USDC\0\x08".to_vec(), "a", Model(Format::Usdc)),
        (usdz(), "a", Model(Format::Usdz)),
        (b"solid a\nfacet normal 0 0 1\n".to_vec(), "a", Model(Format::Stl)),
        (binary_stl(2), "a", Model(Format::Stl)),
        (b"ply\nformat ascii 1.0\n".to_vec(), "a", Model(Format::Ply)),
        (b"ply\r\nformat ascii 1.0\r\n".to_vec(), "a", Model(Format::Ply)),
        (b"Ogawa\xff\0\x01".to_vec(), "a", Model(Format::Abc)),
        (b"BLENDER-v279RENDH".to_vec(), "a", Model(Format::Blend)),
        (b"\x28\xb5\x2f\xfd\0\0".to_vec(), "a.blend", Model(Format::Blend)),
        (gzip(b"BLENDER-v279RENDH"), "-", Model(Format::Blend)),
        (
            compress_to_vec(b"BLENDER17-01v0500".as_slice(), CompressionLevel::Fastest),
            "a.stl",
            Model(Format::Blend),
        ),
        (zip_of(&[("a.obj", OBJ.as_bytes())]), "a", Zip),
        (zip_of(&[("a.usda", b"#usda 1.0\n")]), "a.zip", Zip),
    ]
}

#[test]
fn every_format_is_detected_by_its_content() {
    for (content, name, expected) in formats() {
        let start = String::from_utf8_lossy(&content[..content.len().min(24)]).into_owned();
        assert_eq!(detect(&mut Cursor::new(content), name).unwrap(), expected, "{name} {start:?}");
    }
}

#[test]
fn a_wrong_extension_is_a_warning() {
    let model = Desk::new().upload("figure.fbx", glb_of(r#"{"asset":{"version":"2.0"}}"#, b"")).unwrap();
    assert_eq!(model.format, Format::Glb);
    assert_eq!(model.warnings, ["the name says fbx but the content is glb"]);
    assert_eq!(model.main.to_str(), Some("figure.glb"));
    assert_eq!(model.name, "figure");
    assert_eq!(name_mismatch(Detected::Model(Format::Usd), "a.usd"), None);
    assert_eq!(name_mismatch(Detected::Model(Format::Obj), "a.txt"), None);
}

#[test]
fn files_that_are_not_models_get_clear_errors() {
    let compressed = gzip(&binary_stl(40));
    let cases: [(&[u8], &str, ErrorCode, &str); 16] = [
        (b"", "a.fbx", ErrorCode::EmptyFile, "the file is empty"),
        (b"Dear diary,\n", "a.fbx", ErrorCode::UnknownFormat, "the file is text in an unknown format"),
        (b"Dear diary,\n", "a.obj", ErrorCode::UnknownFormat, "the file is text in an unknown format"),
        (b"\x89PNG\r\n\x1a\n\0\0", "a.fbx", ErrorCode::UnknownFormat, "the file is a PNG image"),
        (b"%PDF-1.7", "a.glb", ErrorCode::UnknownFormat, "the file is a PDF document"),
        (
            b"<COLLADA xmlns=",
            "a.dae",
            ErrorCode::UnknownFormat,
            "the file is a Collada model (dae), which cannot be read",
        ),
        (
            b"newmtl a\nKd 1 1 1\n",
            "a.mtl",
            ErrorCode::UnknownFormat,
            "the file is a material library (mtl) without its model",
        ),
        (b"{\"a\":1}", "a.json", ErrorCode::UnknownFormat, "the file is JSON, but not glTF"),
        (
            b"{\"asset\":{\"version\":\"1.0\"}}",
            "a.gltf",
            ErrorCode::ImportFailed,
            "the file is glTF 1.0; only glTF 2.0 can be read",
        ),
        (
            b"glTF\x01\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
            "a.glb",
            ErrorCode::ImportFailed,
            "the file is glTF 1.0; only glTF 2.0 can be read",
        ),
        (b"glTF\x02\0\0\0", "a.glb", ErrorCode::ImportFailed, "the glb file ends early"),
        (
            b"\x89HDF\r\n\x1a\n",
            "a.abc",
            ErrorCode::ImportFailed,
            "the file is HDF5, the old kind of Alembic; only the Ogawa kind can be read",
        ),
        (
            b"ply\nformat ascii 1.0\nelement vertex 4000000000\nproperty float x\nend_header\n0\n",
            "a.ply",
            ErrorCode::ImportFailed,
            "the ply file is damaged: it announces 4000000000 of \"vertex\" in 77 bytes",
        ),
        (&compressed, "a.stl", ErrorCode::UnknownFormat, "the file is gzip-compressed data; unpack it first"),
        (
            b"\x28\xb5\x2f\xfdno frame",
            "a",
            ErrorCode::UnknownFormat,
            "the file is zstd-compressed data; unpack it first",
        ),
        (b"\0\x01\x02\x03", "a.abc", ErrorCode::UnknownFormat, "the file is in an unknown format"),
    ];
    for (content, name, code, detail) in cases {
        let error = Desk::new().upload(name, content).unwrap_err();
        assert_eq!((error.code, error.detail.as_str()), (code, detail), "{name}");
    }
    let error = detect(&mut Cursor::new(fbx(2000)), "a.fbx").unwrap_err();
    assert_eq!(error.detail, "the file is FBX 2.0, which is too old to be read");
    let error = detect(&mut Cursor::new(&binary_stl(5)[..200]), "a.stl").unwrap_err();
    assert_eq!(error.detail, "the stl file is damaged: it announces 5 triangles and has room for 2");
}

#[test]
fn deeply_nested_json_is_refused_with_one_line() {
    for text in ["[".repeat(100_000), format!("{{\"asset\":{}", "[".repeat(100_000))] {
        for name in ["a.gltf", "a"] {
            let error = Desk::new().upload(name, &text).unwrap_err();
            assert!(matches!(error.code, ErrorCode::ImportFailed | ErrorCode::UnknownFormat));
            assert!(!error.detail.contains('\n') && error.detail.len() < 200, "{}", error.detail);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn detection_never_panics(which in 0..28usize, cut in 0..200usize, noise in proptest::collection::vec(any::<u8>(), 0..300)) {
        let (mut content, name, _) = formats().swap_remove(which);
        content.truncate(cut);
        content.extend(noise);
        if let Err(error) = detect(&mut Cursor::new(content), name) {
            prop_assert!(!error.detail.contains('\n'), "{}", error.detail);
        }
    }
}
