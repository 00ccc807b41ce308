//! What goes in comes out: the same bytes behind every buffer view, the same JSON but for where the bytes are.

mod loader;
mod properties;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde_json::{Value, json};
use tempfile::TempDir;

use super::{SizeLimit, can, glb_to_gltf};
use crate::context::Context;
use crate::domain::options::{EngineChoice, Packaging};
use crate::domain::{ConversionError, ErrorCode, Format, Options};
use crate::formats::gltf::asset::Asset;
use crate::fs::open::{Located, Root};
use loader::{Loaded, glb};

const PNG: &[u8] = b"\x89PNG\r\n\x1a\nnot quite an image";

/// Numbers that lose their digits when they are read as floats, names that lose their escapes, and spaces.
const ODD: &str = r#""extras" : {"z":1.0, "a":1, "tiny":0.10000000149011612, "huge":123456789012345678901234567890,
    "e":1E+2, "name":"\u30df\u30af \/", "note":"data:text/plain,hello", "deep":[[[{}]]]}"#;

fn folder_with(files: &[(&str, &[u8])]) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, content) in files {
        let path = folder.path().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    folder
}

/// Repacks the model whose files are all that is in `folder`.
fn repack(
    folder: &Path,
    main: &str,
    output_dir: &Path,
    name: &str,
    output: Format,
    packaging: Packaging,
) -> Result<Vec<PathBuf>, ConversionError> {
    let files = walkdir::WalkDir::new(folder).into_iter().map(|entry| entry.unwrap().metadata().unwrap());
    let size = files.filter(fs::Metadata::is_file).map(|file| file.len()).sum();
    super::repack(
        &Asset::open(&folder.join(main), &Context::default())?,
        SizeLimit { model: size, most: 1 << 30 },
        output_dir,
        name,
        output,
        packaging,
    )
}

fn convert(folder: &Path, main: &str, output: Format, packaging: Packaging) -> (TempDir, Vec<PathBuf>) {
    let out = tempfile::tempdir().unwrap();
    let written = repack(folder, main, out.path(), "result", output, packaging).unwrap();
    (out, written)
}

fn refused(files: &[(&str, &[u8])]) -> (ErrorCode, String) {
    let folder = folder_with(files);
    let out = tempfile::tempdir().unwrap();
    let main = files[0].0;
    let error = repack(folder.path(), main, out.path(), "x", Format::Glb, Packaging::Auto).unwrap_err();
    (error.code, error.detail)
}

#[test]
fn gltf_formats_are_repacked_unless_an_option_prevents_it() {
    let options = Options::default();
    for input in [Format::Gltf, Format::Glb, Format::Vrm, Format::Vrma] {
        assert!(can(input, Format::Glb, &options) && can(input, Format::Gltf, &options));
        assert!(!can(input, Format::Vrm, &options), "an avatar needs its bones assigned");
    }
    assert!(!can(Format::Fbx, Format::Glb, &options));
    assert!(!can(Format::Glb, Format::Gltf, &Options { engine: EngineChoice::Blender, ..options.clone() }));
    assert!(!can(Format::Glb, Format::Gltf, &Options { draco: true, ..options.clone() }));
    assert!(!can(Format::Glb, Format::Gltf, &Options { scale: 2.0, ..options }));
}

#[test]
fn unedited_json_is_kept_byte_for_byte() {
    let text = format!(
        "{{ \"asset\": {{\"version\":\"2.0\"}},\n {ODD},\n \"buffers\":[{{\"byteLength\":3,\"uri\":\"a%20b.bin\"}}] }}\n"
    );
    let folder = folder_with(&[("model.gltf", text.as_bytes()), ("a b.bin", b"abcd")]);
    let (out, written) = convert(folder.path(), "model.gltf", Format::Glb, Packaging::Auto);
    let loaded = Loaded::read(&out.path().join(&written[0]));
    assert_eq!(loaded.text.trim_end(), text.trim_end().replace(",\"uri\":\"a%20b.bin\"", ""));
    assert_eq!(loaded.buffers, [Some(b"abc".to_vec())]);

    let (back, written) = convert(out.path(), "result.glb", Format::Gltf, Packaging::Zip);
    assert_eq!(written, [PathBuf::from("result.gltf"), PathBuf::from("result.bin")]);
    let text_back = fs::read_to_string(back.path().join("result.gltf")).unwrap();
    assert_eq!(text_back, text.trim_end().replace("a%20b.bin", "result.bin"));
    assert_eq!(fs::read(back.path().join("result.bin")).unwrap(), b"abc");
}

#[test]
fn avatars_are_copied_byte_for_byte() {
    let model = glb(&json!({"asset": {"version": "2.0"}, "buffers": [{"byteLength": 2}]}), b"xy");
    let folder = folder_with(&[("avatar.vrm", &model)]);
    let (out, written) = convert(folder.path(), "avatar.vrm", Format::Glb, Packaging::Auto);
    assert_eq!(fs::read(out.path().join(&written[0])).unwrap(), model);
}

#[test]
fn a_glb_embeds_its_external_images() {
    let json =
        json!({"asset": {"version": "2.0"}, "images": [{"uri": "t/a.png", "name": "a"}, {"uri": "t/a.png"}]});
    let folder = folder_with(&[("model.glb", &glb(&json, b"")), ("t/a.png", PNG)]);
    let (out, written) = convert(folder.path(), "model.glb", Format::Glb, Packaging::Auto);
    let loaded = Loaded::read(&out.path().join(&written[0]));
    assert_eq!(
        loaded.json["images"],
        json!([{"bufferView": 0, "mimeType": "image/png", "name": "a"}, {"bufferView": 0, "mimeType": "image/png"}])
    );
    assert_eq!(loaded.views(), [PNG]);
}

#[test]
fn only_files_within_the_model_are_found() {
    let text = r#"{"asset":{"version":"2.0"},"buffers":[{"uri":"../data/m.bin","byteLength":4}],
        "bufferViews":[{"buffer":0,"byteLength":4}],"images":[{"uri":"../maps/t.png"},{"uri":"maps/t.png"},
        {"uri":"../../outside.png"},{"uri":"../../model/maps/t.png"},{"uri":"../link/outside.png"}]}"#;
    let folder = folder_with(&[
        ("model/source/m.gltf", text.as_bytes()),
        ("model/data/m.bin", b"1234"),
        ("model/maps/t.png", PNG),
        ("model/source/maps/t.png", PNG),
        ("outside.png", PNG),
    ]);
    std::os::unix::fs::symlink(folder.path(), folder.path().join("model/link")).unwrap();
    let root = Arc::new(Root::open(&folder.path().join("model")).unwrap());
    let main = Located::new(&root, "source/m.gltf".into());
    let source = Asset::open_in(main, Some(root), &Context::default()).unwrap();
    let left = json!(["../../outside.png", "../../model/maps/t.png", "../link/outside.png"]);
    let outside =
        |images: &Value| images.as_array().unwrap()[2..].iter().map(|i| i["uri"].clone()).collect::<Value>();

    let out = tempfile::tempdir().unwrap();
    super::repack(
        &source,
        SizeLimit { model: 1000, most: 1 << 30 },
        out.path(),
        "r",
        Format::Glb,
        Packaging::Auto,
    )
    .unwrap();
    let loaded = Loaded::read(&out.path().join("r.glb"));
    assert_eq!(loaded.views(), [b"1234".as_slice(), PNG, PNG]);
    assert_eq!(outside(&loaded.json["images"]), left);

    let written = super::repack(
        &source,
        SizeLimit { model: 1000, most: 1 << 30 },
        out.path(),
        "r",
        Format::Gltf,
        Packaging::Zip,
    )
    .unwrap();
    let names = ["r.gltf", "data/m.bin", "maps/t.png", "maps/t-2.png"].map(PathBuf::from);
    assert_eq!(written, names);
    assert!(names.iter().all(|name| out.path().join(name).is_file()));
    let json: Value = serde_json::from_slice(&fs::read(out.path().join("r.gltf")).unwrap()).unwrap();
    assert_eq!(json["buffers"][0]["uri"], "data/m.bin");
    assert_eq!(json["images"][0]["uri"], "maps/t.png");
    assert_eq!(json["images"][1]["uri"], "maps/t-2.png");
    assert_eq!(outside(&json["images"]), left);
}

#[test]
fn a_gltf_is_written_as_single_or_several_files() {
    let text = r#"{"asset":{"version":"2.0"},"buffers":[{"uri":"d/m.bin","byteLength":4}],
        "bufferViews":[{"buffer":0,"byteLength":4}],"images":[{"uri":"d/t.png"},{"uri":"gone.png"}]}"#;
    let folder = folder_with(&[("m.gltf", text.as_bytes()), ("d/m.bin", b"1234"), ("d/t.png", PNG)]);
    let (out, written) = convert(folder.path(), "m.gltf", Format::Gltf, Packaging::Zip);
    let names = ["result.gltf", "d/m.bin", "d/t.png"].map(PathBuf::from);
    assert_eq!(written, names);
    assert_eq!(fs::read(out.path().join("d/t.png")).unwrap(), PNG);

    let (out, written) = convert(folder.path(), "m.gltf", Format::Gltf, Packaging::Single);
    assert_eq!(written.len(), 1);
    let loaded = Loaded::read(&out.path().join(&written[0]));
    assert_eq!(loaded.views(), [b"1234"]);
    assert!(loaded.json["images"][0]["uri"].as_str().unwrap().starts_with("data:image/png;base64,"));
    assert_eq!(loaded.json["images"][1]["uri"], "gone.png");
}

#[test]
fn a_glb_from_blender_becomes_gltf_and_bin() {
    let json = json!({"asset": {"version": "2.0"}, "buffers": [{"byteLength": 4}]});
    let folder = folder_with(&[("scratch.glb", &glb(&json, b"1234"))]);
    let written = glb_to_gltf(
        &folder.path().join("scratch.glb"),
        1 << 20,
        folder.path(),
        "ü x",
        Packaging::Zip,
        &Context::default(),
    )
    .unwrap();
    assert_eq!(written, ["ü x.gltf", "ü x.bin"].map(PathBuf::from));
    let loaded = Loaded::read(&folder.path().join("ü x.gltf"));
    assert_eq!(loaded.json["buffers"][0]["uri"], "%C3%BC%20x.bin");
}

#[test]
fn compressed_buffer_views_keep_their_bytes() {
    let text = r#"{"asset":{"version":"2.0"},
        "buffers":[{"byteLength":8,"extras":{"fallback":true}},{"byteLength":2,"uri":"a.bin"},{"byteLength":3,"uri":"b.bin"}],
        "bufferViews":[{"buffer":0,"byteLength":8,"extensions":{"EXT_meshopt_compression":{"buffer":2,"byteLength":3}}}]}"#;
    let folder = folder_with(&[("m.gltf", text.as_bytes()), ("a.bin", b"aa"), ("b.bin", b"bbb")]);
    let (out, written) = convert(folder.path(), "m.gltf", Format::Glb, Packaging::Auto);
    let loaded = Loaded::read(&out.path().join(&written[0]));
    assert_eq!(
        loaded.json["bufferViews"][0],
        json!({"buffer": 1, "byteLength": 8,
            "extensions": {"EXT_meshopt_compression": {"buffer": 0, "byteOffset": 4, "byteLength": 3}}})
    );
    assert_eq!(
        loaded.json["buffers"],
        json!([{"byteLength": 7}, {"byteLength": 8, "extras": {"fallback": true}}])
    );
    assert_eq!(loaded.buffers, [Some(b"aa\0\0bbb".to_vec()), None]);
}

#[test]
fn every_invalid_input_has_its_error_message() {
    let version = |version: &str| format!(r#"{{"asset":{{"version":"{version}"}}}}"#).into_bytes();
    let one_buffer = |uri: &str| {
        format!(r#"{{"asset":{{"version":"2.0"}},"buffers":[{{"byteLength":9,"uri":"{uri}"}}]}}"#)
            .into_bytes()
    };
    let whole = glb(&json!({"asset": {"version": "2.0"}, "buffers": [{"byteLength": 4}]}), b"1234");
    let mut old = whole.clone();
    old[4] = 1;
    let short = glb(&json!({"asset": {"version": "2.0"}, "buffers": [{"byteLength": 99}]}), b"1234");
    let cases: [(&str, &[u8], ErrorCode, &str); 10] = [
        ("a.gltf", &version("1.0"), ErrorCode::ImportFailed, "only glTF 2.0 can be read"),
        ("a.gltf", &version("3.0"), ErrorCode::ImportFailed, "only glTF 2.0 can be read"),
        ("a.gltf", b"{}", ErrorCode::ImportFailed, "does not say its glTF version"),
        ("a.gltf", b"\xff\xfe", ErrorCode::ImportFailed, "UTF-8"),
        ("a.glb", &old, ErrorCode::ImportFailed, "the file is glTF 1.0; only glTF 2.0 can be read"),
        ("a.glb", &whole[..whole.len() - 3], ErrorCode::ImportFailed, "ends early"),
        ("a.glb", &short, ErrorCode::ImportFailed, "buffer 0 is truncated: 4 of 99 bytes are there"),
        ("a.gltf", &one_buffer("b.bin"), ErrorCode::MissingFiles, "\"b.bin\""),
        ("a.gltf", &one_buffer("data:x/y;base64,!!!!"), ErrorCode::ImportFailed, "truncated"),
        ("a.gltf", &one_buffer("data:x/y;base64,AAA!!AAAAAAAAA"), ErrorCode::ImportFailed, "damaged"),
    ];
    for (name, content, code, part) in cases {
        let (refused, detail) = refused(&[(name, content)]);
        assert_eq!(refused, code, "{detail}");
        assert!(detail.contains(part), "{detail}");
    }
}

#[test]
fn files_outside_the_folder_are_not_opened() {
    let folder = folder_with(&[("secret.bin", b"123456789"), ("in/link.txt", b"")]);
    let inner = folder.path().join("in");
    std::os::unix::fs::symlink(folder.path().join("secret.bin"), inner.join("link.bin")).unwrap();
    let absolute = folder.path().join("secret.bin").display().to_string();
    for uri in ["../secret.bin", "%2e%2e/secret.bin", "link.bin", &absolute, "file:../secret.bin"] {
        let text = format!(r#"{{"asset":{{"version":"2.0"}},"buffers":[{{"byteLength":9,"uri":"{uri}"}}]}}"#);
        fs::write(inner.join("m.gltf"), text).unwrap();
        let out = tempfile::tempdir().unwrap();
        let error = repack(&inner, "m.gltf", out.path(), "x", Format::Glb, Packaging::Auto).unwrap_err();
        assert_eq!(error.code, ErrorCode::MissingFiles, "{uri}");
    }
}

#[test]
fn companion_files_of_a_gltf_get_safe_names() {
    let names = [
        ".bashrc",
        "..\\x",
        "C:t.png",
        "aux.png",
        "run.sh",
        ".git/hooks/pre-commit",
        "T.png",
        "t.png",
        "b\n.dds",
    ];
    let images: Vec<Value> = names.iter().map(|name| json!({"uri": name})).collect();
    let text = json!({"asset": {"version": "2.0"}, "images": images, "bufferViews": [{"buffer": 0, "byteLength": 4}],
        "buffers": [{"uri": "geometry.exe", "byteLength": 4}, {"uri": "result.gltf", "byteLength": 2}]});
    let text = text.to_string();
    let mut files: Vec<(&str, &[u8])> =
        vec![("m.gltf", text.as_bytes()), ("geometry.exe", b"1234"), ("result.gltf", b"56")];
    files.extend(names.iter().map(|name| (*name, PNG)));
    let folder = folder_with(&files);
    let (out, mut written) = convert(folder.path(), "m.gltf", Format::Gltf, Packaging::Zip);
    let json: Value = serde_json::from_slice(&fs::read(out.path().join("result.gltf")).unwrap()).unwrap();
    let uris = |list: &str| -> Vec<String> {
        let list = json[list].as_array().unwrap().iter();
        list.map(|object| object["uri"].as_str().unwrap().to_owned()).collect()
    };
    assert_eq!(uris("buffers"), ["geometry.exe.bin", "result.gltf.bin"]);
    assert_eq!(
        uris("images"),
        [
            "bashrc.png",
            "x.png",
            "C_t.png",
            "_aux.png",
            "run.sh.png",
            "git/hooks/pre-commit.png",
            "T.png",
            "t-2.png",
            "b.dds"
        ]
    );
    let loaded = Loaded::read(&out.path().join("result.gltf"));
    assert_eq!(loaded.buffers, [Some(b"1234".to_vec()), Some(b"56".to_vec())]);
    // And nothing else was written.
    written.sort();
    let there = walkdir::WalkDir::new(out.path()).into_iter().filter_map(Result::ok);
    let mut there: Vec<_> = there
        .filter(|entry| entry.file_type().is_file())
        .map(|entry| entry.path().strip_prefix(out.path()).unwrap().to_owned())
        .collect();
    there.sort();
    assert_eq!(written, there);
}

#[test]
fn oversized_results_are_refused() {
    let text = r#"{"asset":{"version":"2.0"},"buffers":[{"uri":"a.bin","byteLength":3000}]}"#;
    let folder = folder_with(&[("m.gltf", text.as_bytes()), ("a.bin", &[7; 3000])]);
    let room = |most| SizeLimit { model: 3100, most };
    let repacked = |output, packaging, most| {
        let source = Asset::open(&folder.path().join("m.gltf"), &Context::default()).unwrap();
        let out = tempfile::tempdir().unwrap();
        super::repack(&source, room(most), out.path(), "x", output, packaging).map_err(|error| error.code)
    };
    for (output, packaging) in
        [(Format::Glb, Packaging::Auto), (Format::Gltf, Packaging::Auto), (Format::Gltf, Packaging::Zip)]
    {
        assert!(repacked(output, packaging, 5000).is_ok());
        assert_eq!(repacked(output, packaging, 3000), Err(ErrorCode::OutputTooLarge), "{output}");
    }
}
