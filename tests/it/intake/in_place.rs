//! A user's own file that need not be copied, and files that are the conversion's own.

use std::fs;

use meshgate::domain::{ErrorCode, Format};
use meshgate::intake::{Limits, Model, Named, Source, prepare};

use super::{Desk, listing, main_text};

fn gltf(uri: &str) -> String {
    format!(r#"{{"asset":{{"version":"2.0"}},"buffers":[{{"byteLength":4,"uri":"{uri}"}}]}}"#)
}

/// Prepares `a.gltf` of the desk for an engine that reads glTF where it lies.
fn in_place(desk: &Desk) -> Model {
    let source = Source::FileWithSiblings(desk.sent().join("a.gltf"));
    let into = desk.folder.path().join("in");
    prepare(&source, None, &into, Limits::default(), &|format| format == Format::Gltf).unwrap()
}

#[test]
fn a_sound_model_stays_where_it_is() {
    let desk = Desk::new();
    let main = desk.put("a.gltf", gltf("parts/a%20b.bin"));
    desk.put("parts/a b.bin", "1234");
    desk.put("private.bin", "12345");
    let model = in_place(&desk);
    assert_eq!((model.folder.as_path(), model.main.as_path()), (desk.sent().as_path(), "a.gltf".as_ref()));
    assert_eq!((model.files, model.bytes), (2, main.metadata().unwrap().len() + 4));
    assert!(listing(&desk.folder.path().join("in")).is_empty());
    model.check_unchanged().unwrap();
}

#[test]
fn a_file_that_changes_while_it_is_read_is_an_error() {
    let desk = Desk::new();
    desk.put("a.gltf", gltf("a.bin"));
    let bin = desk.put("a.bin", "1234");
    let model = in_place(&desk);
    // As editors do it: of the same size, by rename.
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
    // What becomes of the originals does not matter any more.
    fs::remove_file(main).unwrap();
    model.check_unchanged().unwrap();
}

#[test]
fn files_of_the_conversions_own_are_moved() {
    let desk = Desk::new();
    let (main, bin) = (desk.put("1", gltf("a.bin")), desk.put("2", "1234"));
    let named = |path, name: &str| Named { path, name: name.to_owned() };
    let source = Source::Owned(vec![named(main, "a.gltf"), named(bin, "a.bin")]);
    let model = desk.prepare(&source, None, Limits::default()).unwrap();
    assert_eq!(listing(&model.folder), ["a.bin", "a.gltf"]);
    assert!(listing(&desk.sent()).is_empty());
    assert_eq!(model.files, 2);

    // Never a link: it would be moved, and lead out of the folder.
    let link = desk.sent().join("link");
    std::os::unix::fs::symlink(desk.put("b.gltf", gltf("data:;base64,AAAAAA==")), &link).unwrap();
    let error = desk.prepare(&Source::Owned(vec![named(link, "a.gltf")]), None, Limits::default());
    assert_eq!(error.unwrap_err().code, ErrorCode::Io);
}
