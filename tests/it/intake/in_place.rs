//! Input files that are read in place, and files that a conversion owns.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use meshgate::context::Context;
use meshgate::domain::options::Packaging;
use meshgate::domain::{ErrorCode, Format};
use meshgate::formats::gltf::asset::Asset;
use meshgate::intake::{FileSource, Model, ModelLimits, NamedFile, Source, prepare};
use meshgate::repack;

use super::{Desk, listing, main_text, zip_of};

fn gltf(uri: &str) -> String {
    format!(r#"{{"asset":{{"version":"2.0"}},"buffers":[{{"byteLength":4,"uri":"{uri}"}}]}}"#)
}

/// Prepares `a.gltf` for repacking, which reads glTF in place.
fn in_place(desk: &Desk) -> Model {
    let source = Source::FileWithSiblings(desk.sent().join("a.gltf"));
    let into = desk.folder.path().join("in");
    prepare(&source, None, &into, ModelLimits::default(), &Context::default(), &|format| {
        format == Format::Gltf
    })
    .unwrap()
}

#[test]
fn a_valid_model_is_read_in_place() {
    let desk = Desk::new();
    let main = desk.put("a.gltf", gltf("parts/a%20b.bin"));
    desk.put("parts/a b.bin", "1234");
    desk.put("private.bin", "12345");
    let model = in_place(&desk);
    assert_eq!(model.in_place().unwrap().0.relative(), Path::new("a.gltf"));
    assert_eq!((model.files, model.bytes), (2, main.metadata().unwrap().len() + 4));
    assert!(!desk.folder.path().join("in").exists());
    model.check_unchanged().unwrap();
}

#[test]
fn a_file_changed_during_reading_is_an_error() {
    let desk = Desk::new();
    desk.put("a.gltf", gltf("a.bin"));
    let bin = desk.put("a.bin", "1234");
    let model = in_place(&desk);
    // Replaced by a file of the same size with a rename, as editors do.
    let draft = desk.put("draft", "abcd");
    fs::rename(draft, bin).unwrap();
    let error = model.check_unchanged().unwrap_err();
    assert_eq!(error.code, ErrorCode::Io);
    assert_eq!(error.detail, "\"a.bin\" was changed while it was read");
}

#[test]
fn a_model_whose_references_must_be_rewritten_is_copied() {
    let desk = Desk::new();
    let main = desk.put("a.gltf", gltf("C:\\\\art\\\\A.BIN"));
    desk.put("a.bin", "1234");
    let model = in_place(&desk);
    assert_eq!(listing(&model.folder), ["a.bin", "a.gltf"]);
    assert_eq!(model.folder, desk.folder.path().join("in"));
    assert!(main_text(&model).contains(r#""uri":"a.bin""#));
    assert!(fs::read_to_string(&main).unwrap().contains("A.BIN"), "the user's own file is as it was");
    // Later changes of the originals do not matter.
    fs::remove_file(main).unwrap();
    model.check_unchanged().unwrap();
}

#[test]
fn uploaded_files_are_moved_instead_of_copied() {
    let desk = Desk::new();
    let (main, bin) = (desk.put("1", gltf("a.bin")), desk.put("2", "1234"));
    let named =
        |path, name: &str| NamedFile { file: FileSource::ConversionFile(path), name: name.to_owned() };
    let source = Source::Files(vec![named(main, "a.gltf"), named(bin, "a.bin")]);
    let model = desk.prepare(&source, None, ModelLimits::default()).unwrap();
    assert_eq!(listing(&model.folder), ["a.bin", "a.gltf"]);
    assert!(listing(&desk.sent()).is_empty());
    assert_eq!(model.files, 2);

    // A received file is never a link: moved into the conversion's folder, it would lead out of it.
    let refused = |target, name: &str| {
        let link = desk.sent().join(format!("link to {name}"));
        symlink(target, &link).unwrap();
        desk.prepare(&Source::Files(vec![named(link, name)]), None, ModelLimits::default()).unwrap_err().code
    };
    assert_eq!(refused(desk.put("b.gltf", gltf("data:;base64,AAAAAA==")), "a.gltf"), ErrorCode::Io);
    let zip = zip_of(&[("a.gltf", gltf("data:;base64,AAAAAA==").as_bytes())]);
    assert_eq!(refused(desk.put("b.zip", zip), "a.zip"), ErrorCode::Io);
}

/// Repacks a model read in place as glb; returns its bytes.
fn repacked(model: &Model) -> Result<Vec<u8>, ErrorCode> {
    let out = tempfile::tempdir().unwrap();
    let (main, folder) = model.in_place().unwrap();
    let room = repack::SizeLimit { model: model.bytes, most: 1 << 30 };
    let repacked = Asset::open_in(main.clone(), folder.cloned(), &Context::default())
        .and_then(|source| repack::repack(&source, room, out.path(), "a", Format::Glb, Packaging::Auto));
    repacked.map_err(|error| error.code)?;
    Ok(fs::read(out.path().join("a.glb")).unwrap())
}

#[test]
fn files_read_in_place_cannot_become_links() {
    let swap = |what: &str, secret: &str| {
        let desk = Desk::new();
        desk.put("a.gltf", gltf("sub/a.bin"));
        desk.put("sub/a.bin", "open");
        desk.put("../secret/a.bin", "secr");
        desk.put("../secret/a.gltf", gltf("data:;base64,c2Vjcg=="));
        let model = in_place(&desk);
        assert!(repacked(&model).unwrap().ends_with(b"open"));
        fs::rename(desk.sent().join(what), desk.folder.path().join("before")).unwrap();
        symlink(desk.folder.path().join(secret), desk.sent().join(what)).unwrap();
        (repacked(&model), model.check_unchanged().map_err(|error| error.code))
    };
    let changed = Err(ErrorCode::Io);
    assert_eq!(swap("sub/a.bin", "secret/a.bin"), (Err(ErrorCode::MissingFiles), changed));
    assert_eq!(swap("sub", "secret"), (Err(ErrorCode::MissingFiles), changed));
    assert_eq!(swap("a.gltf", "secret/a.gltf"), (Err(ErrorCode::Io), changed));
}

#[test]
fn a_linked_main_file_finds_files_beside_the_link() {
    let desk = Desk::new();
    desk.put("../store/0001", gltf("a.bin"));
    desk.put("../store/a.bin", "else");
    desk.put("a.bin", "open");
    symlink("../store/0001", desk.sent().join("a.gltf")).unwrap();
    let model = in_place(&desk);
    assert!(repacked(&model).unwrap().ends_with(b"open"));
    model.check_unchanged().unwrap();
}

#[test]
fn linked_files_beside_a_model_are_not_included() {
    let desk = Desk::new();
    desk.put("a.gltf", gltf("a.bin"));
    symlink(desk.put("../secret.bin", "secr"), desk.sent().join("a.bin")).unwrap();
    let source = Source::FileWithSiblings(desk.sent().join("a.gltf"));
    let into = desk.folder.path().join("in");
    let error =
        prepare(&source, None, &into, ModelLimits::default(), &Context::default(), &|_| true).unwrap_err();
    assert_eq!(error.code, ErrorCode::MissingFiles);
}
