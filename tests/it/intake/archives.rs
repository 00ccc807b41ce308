use std::fs;
use std::io::{Cursor, Write};

use meshgate::domain::{ErrorCode, Format};
use meshgate::intake::{FileSource, ModelLimits, NamedFile, Source};
use proptest::prelude::*;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::{Desk, OBJ, listing, zip_of};

fn sent(desk: &Desk, zip: &[u8]) -> Source {
    Source::Files(vec![NamedFile {
        file: FileSource::UserFile(desk.put("sent.zip", zip)),
        name: "sent.zip".to_owned(),
    }])
}

#[test]
fn a_zip_with_one_model_needs_no_main_file() {
    let desk = Desk::new();
    let zip = zip_of(&[
        ("__MACOSX/._a.obj", b"junk"),
        ("dir/.DS_Store", b"junk"),
        ("dir/a.obj", OBJ.as_bytes()),
        ("dir/readme.txt", b"hello"),
    ]);
    let model = desk.upload("my chair.zip", zip).unwrap();
    assert_eq!((model.format, model.files), (Format::Obj, 2));
    assert_eq!(model.bytes, OBJ.len() as u64 + 5);
    assert_eq!(model.main.to_str(), Some("dir/a.obj"));
    assert_eq!(model.name, "my chair");
    assert_eq!(listing(&model.folder), ["dir/a.obj", "dir/readme.txt"]);
    assert!(model.warnings.is_empty(), "{:?}", model.warnings);
    let named = desk.upload("seat.v2.obj.zip", zip_of(&[("a.obj", OBJ.as_bytes())])).unwrap();
    assert_eq!(named.name, "seat.v2");
}

#[test]
fn invalid_zips_get_a_one_line_error() {
    let inner = zip_of(&[("a.obj", OBJ.as_bytes())]);
    let cases: Vec<(&str, Vec<u8>, ErrorCode, &str)> = vec![
        (
            "slip",
            zip_of(&[("../../evil.obj", b"v")]),
            ErrorCode::InvalidArchive,
            "the zip names a file outside its folder: \"../../evil.obj\"",
        ),
        (
            "inner slip",
            zip_of(&[("a/../../evil.obj", b"v")]),
            ErrorCode::InvalidArchive,
            "the zip names a file outside its folder: \"a/../../evil.obj\"",
        ),
        (
            "backslash",
            zip_of(&[("..\\evil.obj", b"v")]),
            ErrorCode::InvalidArchive,
            "the zip names a file outside its folder: \"..\\\\evil.obj\"",
        ),
        (
            "absolute",
            zip_of(&[("/etc/cron.d/x", b"v")]),
            ErrorCode::InvalidArchive,
            "the zip names a file outside its folder: \"/etc/cron.d/x\"",
        ),
        (
            "drive",
            zip_of(&[("C:\\x.obj", b"v")]),
            ErrorCode::InvalidArchive,
            "the zip names a file outside its folder: \"C:\\\\x.obj\"",
        ),
        (
            "nested",
            zip_of(&[("source/model.zip", &inner), ("tex.png", b"x")]),
            ErrorCode::InvalidArchive,
            "the zip holds another zip instead of a model",
        ),
        (
            "lying nested",
            zip_of(&[("model.fbx", &inner)]),
            ErrorCode::InvalidArchive,
            "the zip holds another zip instead of a model",
        ),
        (
            "no model",
            zip_of(&[("readme.txt", b"hello"), ("b.txt", b"x")]),
            ErrorCode::UnknownFormat,
            "the zip holds no model",
        ),
        ("empty", zip_of(&[]), ErrorCode::UnknownFormat, "the zip is empty"),
        ("only junk", zip_of(&[(".DS_Store", b"x")]), ErrorCode::UnknownFormat, "the zip is empty"),
        (
            "cut",
            inner[..inner.len() - 30].to_vec(),
            ErrorCode::InvalidArchive,
            "the zip is damaged or cut short",
        ),
        (
            "file and folder",
            zip_of(&[("a", b"x"), ("a/b.obj", b"x")]),
            ErrorCode::InvalidArchive,
            "\"a/b.obj\" is both a file and a folder in the model",
        ),
        (
            "two",
            zip_of(&[("a.obj", b"v 0 0 0"), ("b.stl", b"solid")]),
            ErrorCode::AmbiguousModel,
            "the zip holds 2 models; name one with --main or main=: \"a.obj\", \"b.stl\"",
        ),
        (
            "an image named fbx",
            zip_of(&[("a.fbx", b"\x89PNG\r\n\x1a\n"), ("b.png", b"x")]),
            ErrorCode::UnknownFormat,
            "\"a.fbx\" is a PNG image",
        ),
    ];
    for (what, zip, code, detail) in cases {
        let error = Desk::new().upload("sent.zip", zip).unwrap_err();
        assert_eq!((error.code, error.detail.as_str()), (code, detail), "{what}");
    }
}

#[test]
fn an_encrypted_zip_is_refused() {
    let mut zip = zip_of(&[("a.obj", OBJ.as_bytes())]);
    let directory = zip.windows(4).position(|bytes| bytes == b"PK\x01\x02").unwrap();
    zip[6] |= 1;
    zip[directory + 8] |= 1;
    let error = Desk::new().upload("sent.zip", zip).unwrap_err();
    assert_eq!(error.code, ErrorCode::EncryptedArchive);
    assert_eq!(error.detail, "the zip asks for a password; send it without one");
}

#[test]
fn a_flipped_byte_in_a_zip_is_detected() {
    let mut zip = zip_of(&[("a.obj", OBJ.repeat(50).as_bytes())]);
    let at = 30 + "a.obj".len() + 10;
    zip[at] ^= 0x40;
    let error = Desk::new().upload("sent.zip", zip).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidArchive, "{}", error.detail);
}

#[test]
fn links_in_a_zip_are_refused() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    zip.start_file("a.obj", SimpleFileOptions::default()).unwrap();
    zip.write_all(OBJ.as_bytes()).unwrap();
    zip.add_symlink("a.mtl", "/etc/passwd", SimpleFileOptions::default()).unwrap();
    let error = Desk::new().upload("sent.zip", zip.finish().unwrap().into_inner()).unwrap_err();
    assert_eq!(error.detail, "the zip holds a link or special file: \"a.mtl\"");
}

#[test]
fn a_zip_bomb_is_refused_while_unpacking() {
    let desk = Desk::new();
    let bomb = zip_of(&[("a.obj", &vec![b' '; 64 << 20])]);
    assert!(bomb.len() < 1 << 20);
    let source = sent(&desk, &bomb);
    let error = desk.prepare(&source, None, ModelLimits::default()).unwrap_err();
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert_eq!(error.detail, "the zip unpacks to more than 200 times its size");
    let unpacked = fs::metadata(desk.folder.path().join("in/a.obj")).unwrap().len();
    assert!(unpacked < 32 << 20, "{unpacked}");

    let tight = ModelLimits { max_unpacked: 5 << 20, ..ModelLimits::default() };
    let error = desk.prepare(&source, None, tight).unwrap_err();
    assert_eq!(error.detail, "the model is above the limit of 5 MB unpacked");
    let unpacked = fs::metadata(desk.folder.path().join("in/a.obj")).unwrap().len();
    assert!(unpacked <= 5 << 20, "{unpacked}");
}

#[test]
fn too_many_entries_are_refused_before_unpacking() {
    let desk = Desk::new();
    let names: Vec<String> = (0..2001).map(|number| format!("{number}.txt")).collect();
    let files: Vec<(&str, &[u8])> = names.iter().map(|name| (name.as_str(), b"".as_slice())).collect();
    let error = desk.upload("sent.zip", zip_of(&files)).unwrap_err();
    assert_eq!(error.code, ErrorCode::TooLarge);
    assert_eq!(error.detail, "the zip has 2001 entries, more than the 2000 allowed");
}

#[test]
fn the_caller_may_name_the_main_file() {
    let desk = Desk::new();
    let source = sent(&desk, &zip_of(&[("x/A.obj", OBJ.as_bytes()), ("x/b.obj", OBJ.as_bytes())]));
    for main in ["x/A.obj", "X/a.OBJ", "a.obj", "./x/A.obj"] {
        let model = desk.prepare(&source, Some(main), ModelLimits::default()).unwrap();
        assert_eq!(model.main.to_str(), Some("x/A.obj"), "{main}");
    }
    let error = desk.prepare(&source, Some("c.obj"), ModelLimits::default()).unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidOption);
    assert_eq!(error.detail, "the zip holds no file named \"c.obj\"");
}

#[test]
fn names_in_japanese_and_with_newlines_work() {
    let desk = Desk::new();
    let model = desk.upload("sent.zip", zip_of(&[("モデル/初音\nミク.obj", OBJ.as_bytes())])).unwrap();
    assert_eq!(model.main.to_str(), Some("モデル/初音ミク.obj"));
    let model = desk.upload("二行\nの名前.obj", OBJ).unwrap();
    assert_eq!((model.main.to_str(), model.name.as_str()), (Some("二行の名前.obj"), "二行の名前"));
    let model = desk.upload("../../etc/x.obj", OBJ).unwrap();
    assert_eq!(model.main.to_str(), Some("x.obj"));

    // Windows in Japan writes Shift-JIS names without a mark of the encoding.
    let mut zip = zip_of(&[("1234.obj", OBJ.as_bytes())]);
    for at in
        zip.windows(4).enumerate().filter(|(_, bytes)| bytes == b"1234").map(|(at, _)| at).collect::<Vec<_>>()
    {
        zip[at..at + 4].copy_from_slice(b"\x83\x65\x83\x4e");
    }
    assert_eq!(desk.upload("sent.zip", zip).unwrap().main.to_str(), Some("テク.obj"));
}

#[test]
fn a_model_without_extension_is_found_by_content() {
    let model =
        Desk::new().upload("sent.zip", zip_of(&[("model", OBJ.as_bytes()), ("t.txt", b"x")])).unwrap();
    assert_eq!(model.main.to_str(), Some("model.obj"));
}

#[test]
fn links_in_a_folder_are_left_out_with_a_warning() {
    let desk = Desk::new();
    desk.put("a.obj", format!("mtllib a.mtl\n{OBJ}"));
    desk.put(".git/config.obj", OBJ);
    std::os::unix::fs::symlink("/etc/passwd", desk.sent().join("a.mtl")).unwrap();
    std::os::unix::fs::symlink("/etc", desk.sent().join("etc")).unwrap();
    let model = desk.prepare(&Source::Folder(desk.sent()), None, ModelLimits::default()).unwrap();
    assert_eq!(
        model.warnings,
        [
            "\"a.mtl\" is a link or special file and was left out",
            "\"etc\" is a link or special file and was left out",
            "material library \"a.mtl\" was not found"
        ]
    );
    assert_eq!(listing(&model.folder), ["a.obj"]);
    assert_eq!(model.name, "sent");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(150))]

    #[test]
    fn zip_entries_never_leave_their_folder(names in proptest::collection::vec(r"[./\\a:\n猫]{1,12}", 1..6)) {
        let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
        for name in &names {
            // The zip writer refuses equal names.
            if zip.start_file(name.as_str(), SimpleFileOptions::default()).is_ok() {
                zip.write_all(b"x").unwrap();
            }
        }
        let desk = Desk::new();
        let source = sent(&desk, &zip.finish().unwrap().into_inner());
        let _ = desk.prepare(&source, None, ModelLimits::default());
        let outside: Vec<_> = listing(desk.folder.path())
            .into_iter()
            .filter(|path| !path.starts_with("in/") && path != "sent/sent.zip")
            .collect();
        prop_assert!(outside.is_empty(), "{outside:?}");
    }
}
