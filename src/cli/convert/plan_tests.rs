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
    let conversions = conversions(&files(relatives), &folder("out"), &to(formats), false)?;
    Ok(conversions.iter().map(|planned| planned.output.name()).collect())
}

#[test]
fn the_target_follows_the_output_extension() {
    let expected = (Destination::One(Output::File("x.GLB".into())), "glb".to_owned());
    assert_eq!(decide("x.GLB", false, true, "").unwrap(), expected);
    assert_eq!(decide("x.GLB", false, true, "glb").unwrap(), expected);
    assert!(decide("x.glb", false, true, "fbx").unwrap_err().contains("contradicts"));
}

#[test]
fn a_zip_output_needs_a_target_format() {
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
fn an_output_with_an_extension_may_be_a_folder() {
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
fn the_folder_structure_is_kept() {
    assert_eq!(outputs(&["a/b/c.fbx", "d.zip"], "glb").unwrap(), ["out/a/b/c.glb", "out/d.glb"]);
    assert_eq!(outputs(&["a.fbx"], "glb,usdz").unwrap(), ["out/a.glb", "out/a.usdz"]);
}

#[test]
fn only_a_model_extension_is_removed_from_a_name() {
    assert_eq!(
        outputs(&["robot.v2.fbx", "scan.42"], "glb").unwrap(),
        ["out/robot.v2.glb", "out/scan.42.glb"]
    );
}

#[test]
fn equal_names_of_different_formats_get_different_outputs() {
    let names = outputs(&["a.fbx", "a.obj", "b.fbx"], "glb").unwrap();
    assert_eq!(names, ["out/a.fbx.glb", "out/a.obj.glb", "out/b.glb"]);
}

#[test]
fn two_models_with_the_same_output_are_both_named() {
    let error = outputs(&["x:a.fbx", "y:a.fbx"], "glb").unwrap_err();
    assert!(
        error.contains("x:a.fbx") && error.contains("y:a.fbx") && error.contains("out/a.fbx.glb"),
        "{error}"
    );
}

#[test]
fn multi_file_results_get_their_own_folder() {
    let bundle = |formats: &str| {
        let conversions = conversions(&files(&["a.fbx"]), &folder("out"), &to(formats), false).unwrap();
        match conversions[0].output.clone() {
            Output::Tree { bundle, .. } => bundle,
            other => panic!("{other:?}"),
        }
    };
    assert_eq!(bundle("obj"), Path::new("out/a"));
    assert_eq!(bundle("obj,usd"), Path::new("out/a-obj"));
}

#[test]
fn zips_in_a_folder_are_named_by_format() {
    let conversions = conversions(&files(&["a.fbx"]), &folder("out"), &to("obj"), true).unwrap();
    assert_eq!(conversions[0].output, Output::Zip("out/a.obj.zip".into()));
}

#[test]
fn companion_files_are_not_models() {
    for name in ["a.fbx", "A.GLB", "b.zip", "c.usda"] {
        assert!(is_model(Path::new(name)), "{name}");
    }
    for name in ["a.bin", "a.mtl", "a.png", "README", ".fbx", "a.txt"] {
        assert!(!is_model(Path::new(name)), "{name}");
    }
}
