use super::*;

fn to(text: &str) -> Vec<Format> {
    text.split(',').filter(|name| !name.is_empty()).map(|name| name.parse().unwrap()).collect()
}

fn decide(out: &str, is_folder: bool, single: bool, formats: &str) -> Result<(Destination, String), String> {
    let (destination, targets) = destination(Path::new(out), is_folder, single, &to(formats))?;
    Ok((destination, targets.iter().map(|format| format.name()).collect::<Vec<_>>().join(",")))
}

fn folder(path: &str) -> Destination {
    Destination::Folder(path.into())
}

fn files(relatives: &[&str]) -> Vec<Input> {
    relatives
        .iter()
        .map(|name| Input {
            origin: Origin::File(Path::new("in").join(name)),
            relative: name.rsplit(':').next().unwrap().into(),
        })
        .collect()
}

fn outputs(relatives: &[&str], formats: &str) -> Result<Vec<String>, String> {
    let jobs = jobs(&files(relatives), &folder("out"), &to(formats), false)?;
    Ok(jobs.iter().map(|job| job.output.name()).collect())
}

#[test]
fn one_file_takes_the_target_from_its_name() {
    let expected = (Destination::One(Output::File("x.GLB".into())), "glb".to_owned());
    assert_eq!(decide("x.GLB", false, true, "").unwrap(), expected);
    assert_eq!(decide("x.GLB", false, true, "glb").unwrap(), expected);
    assert!(decide("x.glb", false, true, "fbx").unwrap_err().contains("contradicts"));
}

#[test]
fn a_zip_needs_to_know_its_content() {
    assert_eq!(decide("x.zip", false, true, "obj").unwrap().0, Destination::One(Output::Zip("x.zip".into())));
    assert!(decide("x.zip", false, true, "").unwrap_err().contains("--to"));
    assert!(decide("x.zip", false, true, "obj,glb").unwrap_err().contains("several formats"));
}

#[test]
fn several_models_or_formats_need_a_folder() {
    assert_eq!(decide("out", false, false, "glb").unwrap().0, folder("out"));
    assert_eq!(decide("out", false, true, "glb,fbx").unwrap(), (folder("out"), "glb,fbx".to_owned()));
    assert_eq!(decide("out-1.0", false, false, "glb").unwrap().0, folder("out-1.0"));
    assert!(decide("x.glb", false, false, "").unwrap_err().contains("folder"));
    assert!(decide("x.glb", false, true, "glb,fbx").unwrap_err().contains("folder"));
}

#[test]
fn what_looks_like_a_file_may_be_a_folder() {
    assert_eq!(decide("x.glb", true, true, "glb").unwrap().0, folder("x.glb"));
    assert_eq!(decide("x.glb/", false, true, "glb").unwrap().0, folder("x.glb/"));
    assert!(decide("x.foo", false, true, "glb").unwrap_err().contains("a file or a folder"));
    assert!(decide("x.foo", false, true, "").unwrap_err().contains("\"foo\" is not a format"));
    assert!(decide("out", true, true, "").unwrap_err().contains("--to"));
}

#[test]
fn standard_output_takes_one_model_in_one_format() {
    assert_eq!(decide("-", false, true, "glb").unwrap().0, Destination::One(Output::Stdout));
    for (single, formats) in [(true, ""), (true, "glb,fbx"), (false, "glb")] {
        assert!(decide("-", false, single, formats).is_err());
    }
}

#[test]
fn the_tree_is_kept() {
    assert_eq!(outputs(&["a/b/c.fbx", "d.zip"], "glb").unwrap(), ["out/a/b/c.glb", "out/d.glb"]);
    assert_eq!(outputs(&["a.fbx"], "glb,usdz").unwrap(), ["out/a.glb", "out/a.usdz"]);
}

#[test]
fn a_name_is_cut_only_at_a_models_extension() {
    assert_eq!(
        outputs(&["robot.v2.fbx", "scan.42"], "glb").unwrap(),
        ["out/robot.v2.glb", "out/scan.42.glb"]
    );
}

#[test]
fn equal_names_of_different_formats_are_told_apart() {
    let names = outputs(&["a.fbx", "a.obj", "b.fbx"], "glb").unwrap();
    assert_eq!(names, ["out/a.fbx.glb", "out/a.obj.glb", "out/b.glb"]);
}

#[test]
fn two_models_for_one_file_are_named() {
    let error = outputs(&["x:a.fbx", "y:a.fbx"], "glb").unwrap_err();
    assert!(
        error.contains("x:a.fbx") && error.contains("y:a.fbx") && error.contains("out/a.fbx.glb"),
        "{error}"
    );
}

#[test]
fn results_of_several_files_get_a_folder_of_their_own() {
    let bundle = |formats: &str| {
        let jobs = jobs(&files(&["a.fbx"]), &folder("out"), &to(formats), false).unwrap();
        match jobs[0].output.clone() {
            Output::Tree { bundle, .. } => bundle,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(bundle("obj"), Path::new("out/a"));
    assert_eq!(bundle("obj,usd"), Path::new("out/a-obj"));
}

#[test]
fn in_a_folder_zips_bear_the_formats_name() {
    let jobs = jobs(&files(&["a.fbx"]), &folder("out"), &to("obj"), true).unwrap();
    assert_eq!(jobs[0].output, Output::Zip("out/a.obj.zip".into()));
}

#[test]
fn companions_are_no_models() {
    for name in ["a.fbx", "A.GLB", "b.zip", "c.usda"] {
        assert!(is_model(Path::new(name)), "{name}");
    }
    for name in ["a.bin", "a.mtl", "a.png", "README", ".fbx", "a.txt"] {
        assert!(!is_model(Path::new(name)), "{name}");
    }
}
