use super::*;

/// A folder for a result's files, and an empty destination.
struct Case {
    source: tempfile::TempDir,
    out: tempfile::TempDir,
}

impl Case {
    fn new() -> Self {
        Self { source: tempfile::tempdir().unwrap(), out: tempfile::tempdir().unwrap() }
    }

    fn files(&self, names: &[&str]) -> Vec<PathBuf> {
        names
            .iter()
            .map(|name| {
                let path = self.source.path().join(name);
                fs::create_dir_all(path.parent().unwrap()).unwrap();
                fs::write(&path, *name).unwrap();
                path
            })
            .collect()
    }

    fn out(&self, name: &str) -> PathBuf {
        self.out.path().join(name)
    }

    fn tree(&self) -> Output {
        Output::Tree { file: self.out("deep/x.obj"), bundle: self.out("deep/x") }
    }

    /// Every file below the output folder, including hidden ones.
    fn found(&self) -> Vec<String> {
        walkdir::WalkDir::new(self.out.path())
            .sort_by_file_name()
            .into_iter()
            .map(Result::unwrap)
            .filter(|entry| entry.depth() > 0)
            .map(|entry| entry.path().strip_prefix(self.out.path()).unwrap().display().to_string())
            .collect()
    }
}

fn go(files: &[PathBuf], output: &Output, force: bool) -> Result<Vec<PathBuf>, ConversionError> {
    write_files(files, output, force, &Cancel::default())
}

#[test]
fn a_single_file_result_gets_no_folder() {
    let case = Case::new();
    let written = go(&case.files(&["m.obj"]), &case.tree(), false).unwrap();
    assert_eq!(written, [case.out("deep/x.obj")]);
    assert_eq!(case.found(), ["deep", "deep/x.obj"]);
}

#[test]
fn a_multi_file_result_gets_its_own_folder() {
    let case = Case::new();
    let written = go(&case.files(&["m.obj", "m.mtl", "tex/a.png"]), &case.tree(), false).unwrap();
    assert_eq!(written[0], case.out("deep/x/x.obj"));
    assert_eq!(
        case.found(),
        ["deep", "deep/x", "deep/x/m.mtl", "deep/x/tex", "deep/x/tex/a.png", "deep/x/x.obj"]
    );
}

#[test]
fn companions_go_beside_a_named_file() {
    let case = Case::new();
    go(&case.files(&["m.obj", "m.mtl"]), &Output::File(case.out("y.obj")), false).unwrap();
    assert_eq!(case.found(), ["y.mtl", "y.obj"]);
    assert_eq!(fs::read_to_string(case.out("y.obj")).unwrap(), "m.obj");
}

#[test]
fn different_textures_are_kept_and_equal_ones_shared() {
    let case = Case::new();
    let files = case.files(&["m.obj", "m.mtl", "skin.png"]);
    let written = go(&files, &Output::File(case.out("a.obj")), false).unwrap();
    assert_eq!(written, ["a.obj", "a.mtl", "skin.png"].map(|name| case.out(name)));
    let written = go(&files, &Output::File(case.out("b.obj")), false).unwrap();
    assert_eq!(written, ["b.obj", "b.mtl", "skin.png"].map(|name| case.out(name)));

    fs::write(&files[2], "another").unwrap();
    for force in [false, true] {
        let error = go(&files, &Output::File(case.out("c.obj")), force).unwrap_err();
        assert_eq!(error.code, ErrorCode::OutputExists);
        assert!(error.detail.contains("skin.png exists, differs"), "{}", error.detail);
    }
    assert_eq!(case.found(), ["a.mtl", "a.obj", "b.mtl", "b.obj", "skin.png"]);
    assert_eq!(fs::read_to_string(case.out("skin.png")).unwrap(), "skin.png");
    // The model exists already, so the texture is its own.
    go(&files, &Output::File(case.out("a.obj")), true).unwrap();
    assert_eq!(fs::read_to_string(case.out("skin.png")).unwrap(), "another");
}

#[test]
fn an_existing_file_is_kept_and_nothing_else_is_written() {
    let case = Case::new();
    fs::write(case.out("y.mtl"), "mine").unwrap();
    let output = Output::File(case.out("y.obj"));
    let files = case.files(&["m.obj", "m.mtl"]);
    let error = go(&files, &output, false).unwrap_err();
    assert_eq!(error.code, ErrorCode::OutputExists);
    assert!(error.detail.contains("y.mtl"), "{}", error.detail);
    assert_eq!(case.found(), ["y.mtl"]);
    assert_eq!(fs::read_to_string(case.out("y.mtl")).unwrap(), "mine");

    go(&files, &output, true).unwrap();
    assert_eq!(fs::read_to_string(case.out("y.mtl")).unwrap(), "m.mtl");
}

#[test]
fn a_file_created_meanwhile_is_not_replaced() {
    let case = Case::new();
    let mut placing = StagedFiles::new(false);
    for name in ["main", "companion"] {
        placing.stage(&case.out(name), |file| file.write_all(b"new")).unwrap();
    }
    fs::write(case.out("main"), "mine").unwrap();
    let error = placing.commit().unwrap_err();
    assert_eq!(error.code, ErrorCode::OutputExists);
    assert_eq!(case.found(), ["main"]);
    assert_eq!(fs::read_to_string(case.out("main")).unwrap(), "mine");
}

#[test]
fn an_interrupted_copy_leaves_no_files() {
    let case = Case::new();
    let interrupt = Cancel::default();
    interrupt.cancel();
    let error = write_files(&case.files(&["m.obj", "m.mtl"]), &case.tree(), false, &interrupt).unwrap_err();
    assert_eq!(error.code, ErrorCode::Cancelled);
    assert!(case.found().is_empty());
}

#[test]
fn a_failed_write_leaves_no_files() {
    let case = Case::new();
    let mut files = case.files(&["m.obj"]);
    files.push(case.source.path().join("not-there.mtl"));
    assert_eq!(go(&files, &case.tree(), false).unwrap_err().code, ErrorCode::Io);
    assert!(case.found().is_empty());
}

#[test]
fn multi_file_results_go_to_standard_output_as_zip() {
    let case = Case::new();
    let files = case.files(&["m.obj", "tex/a.png"]);
    let archive = zip::ZipArchive::new(zipped(&files, &Cancel::default()).unwrap()).unwrap();
    let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert_eq!(names, ["m.obj", "tex/a.png"]);
}

#[test]
fn an_existing_output_is_found_before_converting() {
    let case = Case::new();
    let output = Output::File(case.out("y.obj"));
    check_free(&output, false).unwrap();
    fs::write(case.out("y.obj"), "mine").unwrap();
    assert_eq!(check_free(&output, false).unwrap_err().code, ErrorCode::OutputExists);
    check_free(&output, true).unwrap();
}

#[test]
fn writing_does_not_follow_a_linked_folder() {
    let elsewhere = tempfile::tempdir().unwrap();
    let case = Case::new();
    let files = case.files(&["m.obj", "m.mtl"]);
    fs::create_dir(case.out("deep")).unwrap();
    std::os::unix::fs::symlink(elsewhere.path(), case.out("deep/x")).unwrap();
    for force in [false, true] {
        let error = go(&files, &case.tree(), force).unwrap_err();
        assert_eq!(error.code, ErrorCode::OutputExists);
        assert!(error.detail.ends_with("is a link; remove it, or name another OUT"), "{error}");
    }
    assert_eq!(fs::read_dir(elsewhere.path()).unwrap().count(), 0);
}
