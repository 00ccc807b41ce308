//! Names, limits, and files that change while they are read.

use std::sync::Arc;

use super::*;
use crate::fs::open::Root;

fn files(names: &[&str]) -> (tempfile::TempDir, Files) {
    let folder = tempfile::tempdir().unwrap();
    let mut files = Files::new(folder.path(), ModelLimits::default(), Context::default());
    for name in names {
        files.create(&name.split('/').collect::<Vec<_>>()).unwrap();
    }
    (folder, files)
}

#[test]
fn references_from_any_system_find_their_file() {
    let (_folder, mut files) =
        files(&["scene/a.gltf", "textures/Skin.PNG", "scene/textures/skin.png", "scene/b.bin"]);
    let mut resolve = |reference| files.resolve(0, reference).unwrap();
    assert_eq!(resolve("b.bin"), Resolved::Found(3));
    assert_eq!(resolve("./B.BIN"), Resolved::Found(3));
    assert_eq!(resolve("../textures/Skin.PNG"), Resolved::Found(1));
    assert_eq!(resolve("textures\\skin.png"), Resolved::Found(2));
    assert_eq!(resolve("C:\\art\\scene\\textures\\skin.png"), Resolved::Found(2));
    assert_eq!(resolve("file:///home/x/b.bin"), Resolved::Found(3));
    assert_eq!(resolve("../../elsewhere/b.bin"), Resolved::Found(3));
    assert_eq!(resolve("c.bin"), Resolved::Missing);
    for outside in ["../../etc/passwd", "/etc/passwd", "http://host/b.bin", "C:\\x", "..\\..\\x"] {
        assert_eq!(resolve(outside), Resolved::Outside, "{outside}");
    }
}

/// A model's folder with the limit of 100 bytes, and a file of 10 bytes offered from another place.
struct Offered {
    folder: tempfile::TempDir,
    place: tempfile::TempDir,
    files: Files,
}

impl Offered {
    fn new() -> Offered {
        let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::create_dir(place.path().join("sub")).unwrap();
        fs::write(place.path().join("sub/skin.png"), "0123456789").unwrap();
        let limits = ModelLimits { max_unpacked: 100, ..ModelLimits::default() };
        let mut files = Files::new(folder.path(), limits, Context::default());
        let root = Arc::new(Root::open(place.path()).unwrap());
        files.offer(Located::new(&root, "sub/skin.png".into()), &["sub", "skin.png"], 10);
        Offered { folder, place, files }
    }

    /// Takes the file; what then lies in the model's folder.
    fn take(&mut self) -> (Result<(), ErrorCode>, Option<String>) {
        let result = self.files.take(0).map_err(|error| error.code);
        (result, fs::read_to_string(self.folder.path().join("sub/skin.png")).ok())
    }
}

#[test]
fn a_file_replaced_by_a_link_is_not_read() {
    use std::os::unix::fs::symlink;
    let secret = tempfile::tempdir().unwrap();
    fs::write(secret.path().join("skin.png"), "secret").unwrap();

    let mut offered = Offered::new();
    let sub = offered.place.path().join("sub");
    fs::remove_dir_all(&sub).unwrap();
    symlink(secret.path(), &sub).unwrap();
    assert_eq!(offered.take(), (Err(ErrorCode::Io), None));

    let mut offered = Offered::new();
    let file = offered.place.path().join("sub/skin.png");
    fs::remove_file(&file).unwrap();
    symlink(secret.path().join("skin.png"), &file).unwrap();
    assert_eq!(offered.take(), (Err(ErrorCode::Io), None));

    fs::remove_file(&file).unwrap();
    let (cwd, mode) = (rustix::fs::CWD, rustix::fs::Mode::RUSR);
    rustix::fs::mknodat(cwd, &file, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    assert_eq!(offered.take(), (Err(ErrorCode::Io), None));

    fs::remove_file(&file).unwrap();
    assert_eq!(offered.take(), (Err(ErrorCode::Io), None));
    fs::write(&file, "here again").unwrap();
    assert_eq!(offered.take(), (Ok(()), Some("here again".to_owned())));
}

#[test]
fn a_changed_file_counts_by_its_current_size() {
    let grown = |bytes| {
        let mut offered = Offered::new();
        fs::write(offered.place.path().join("sub/skin.png"), "x".repeat(bytes)).unwrap();
        let (result, copied) = offered.take();
        (result, copied.map(|text| text.len()), offered.files.totals())
    };
    assert_eq!(grown(3), (Ok(()), Some(3), (1, 3)));
    assert_eq!(grown(100), (Ok(()), Some(100), (1, 100)));
    assert_eq!(grown(101), (Err(ErrorCode::TooLarge), None, (0, 0)));
}

#[test]
fn a_growing_file_is_copied_up_to_the_limit() {
    // Files of the kernel say that they are empty, as a file that grows later does.
    let endless = Path::new("/proc/self/maps");
    assert_eq!(endless.metadata().unwrap().len(), 0);
    let mut offered = Offered::new();
    let mut to = File::create(offered.folder.path().join("copy")).unwrap();
    let error = offered.files.copy_within(&mut File::open(endless).unwrap(), &mut to).unwrap_err();
    assert_eq!((error.code, to.metadata().unwrap().len()), (ErrorCode::TooLarge, 100));

    let error = offered.files.copy(File::open(endless), &["maps"]).unwrap_err();
    assert_eq!((error.code, offered.files.items().len()), (ErrorCode::TooLarge, 1));
    assert!(!offered.folder.path().join("maps").exists());
}

#[test]
fn a_partly_unreadable_file_leaves_no_copy() {
    let mut offered = Offered::new();
    // Opens, and fails when it is read.
    let error = offered.files.copy(File::open("/proc/self/mem"), &["a.obj"]).unwrap_err();
    assert_eq!((error.code, offered.files.items().len()), (ErrorCode::Io, 1));
    assert!(!offered.folder.path().join("a.obj").exists());
    assert_eq!(offered.files.resolve(0, "a.obj").unwrap(), Resolved::Missing);
    let file = offered.place.path().join("sub/skin.png");
    assert_eq!(offered.files.copy(File::open(file), &["a.obj"]).unwrap(), 1);
    assert_eq!(offered.files.item(1).unwrap().stored, Path::new("a.obj"));
}

#[test]
fn a_file_changed_before_copying_is_refused() {
    let brought = |change: &dyn Fn(&Path)| {
        let (folder, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let main = place.path().join("a.gltf");
        fs::write(&main, "before").unwrap();
        let mut files = Files::new(folder.path(), ModelLimits::default(), Context::default());
        files.offer_main(&main, "a.gltf").unwrap();
        files.stay(true);
        files.take(0).unwrap();
        assert!(!folder.path().join("a.gltf").exists());
        change(&main);
        let result = files.copy_in().map_err(|error| error.code);
        result.map(|()| fs::read_to_string(folder.path().join("a.gltf")).unwrap())
    };
    assert_eq!(brought(&|_| ()), Ok("before".to_owned()));
    // Of the same size, by rename, as editors do it.
    let edit = |main: &Path| {
        fs::write(main.with_extension("draft"), "after!").unwrap();
        fs::rename(main.with_extension("draft"), main).unwrap();
    };
    assert_eq!(brought(&edit), Err(ErrorCode::Io));
    let link = |main: &Path| {
        fs::rename(main, main.with_extension("real")).unwrap();
        std::os::unix::fs::symlink("a.real", main).unwrap();
    };
    assert_eq!(brought(&link), Err(ErrorCode::Io));
}

#[test]
fn only_regular_files_within_the_limit_are_moved() {
    let mut offered = Offered::new();
    let own = offered.place.path().join("own");
    fs::write(&own, "x".repeat(101)).unwrap();
    let error = offered.files.adopt(&own, &["a.obj"]).unwrap_err();
    assert_eq!((error.code, offered.files.items().len()), (ErrorCode::TooLarge, 1));
    assert!(own.exists() && !offered.folder.path().join("a.obj").exists());

    let link = offered.place.path().join("link");
    std::os::unix::fs::symlink("own", &link).unwrap();
    assert_eq!(offered.files.adopt(&link, &["a.obj"]).unwrap_err().code, ErrorCode::Io);

    fs::write(&own, "x".repeat(100)).unwrap();
    assert_eq!(offered.files.adopt(&own, &["a.obj"]).unwrap(), 1);
    assert!(!own.exists());
    assert_eq!(offered.files.totals(), (1, 100));
    assert_eq!(fs::read(offered.folder.path().join("a.obj")).unwrap().len(), 100);
}

#[test]
fn equal_names_get_a_suffix() {
    let (_folder, files) = files(&["a.png", "a\n.png", "a-3.png", ".a.png"]);
    let stored: Vec<_> = files.items().iter().map(|item| item.stored.to_str().unwrap()).collect();
    assert_eq!(stored, ["a.png", "a-2.png", "a-3.png", "a-4.png"]);
}
