//! Inputs, results, and their destinations.

use std::fs;
use std::io::Write;
use std::process::Stdio;

use meshgate::domain::Format;
use meshgate::fs::zip::zip_files;

use super::{Desk, Ran, TRIANGLE, example, report};

#[test]
fn a_single_conversion_is_printed_in_full() {
    let desk = Desk::new();
    let figure = example("humanoid.fbx");
    let ran = desk.run(&["convert", figure.to_str().unwrap(), "-o", "figure.stl"]).succeeded();
    let lines: Vec<_> = ran.out.lines().collect();
    assert!(lines[0].starts_with("humanoid.fbx → figure.stl  "), "{}", ran.out);
    assert!(lines[1].starts_with("  in   1 mesh") && lines[1].contains("2 clips"), "{}", ran.out);
    assert!(lines[2].starts_with("  out  1 mesh"), "{}", ran.out);
    assert!(ran.out.contains("\n  lost 2 clips: stl holds no animation"), "{}", ran.out);
    // Without a terminal and without warnings, standard error stays empty.
    assert!(ran.said().is_empty(), "{}", ran.err);
    assert_eq!(desk.files("."), ["figure.stl"]);
}

#[test]
fn a_folder_tree_keeps_its_structure_and_names() {
    let desk = Desk::new();
    let names =
        ["a.obj", "deep/two words.obj", "deep/日本 猫.obj", "deep/er/line\nbreak.obj", "deep/er/note.txt"];
    for name in names {
        desk.put(&format!("models/{name}"), TRIANGLE);
    }
    let ran = desk.run(&["convert", "models", "-o", "out", "--to", "glb,stl"]).succeeded();
    let mut expected: Vec<String> = Vec::new();
    for name in &names[..4] {
        let stem = name.strip_suffix(".obj").unwrap();
        expected.extend([format!("{stem}.glb"), format!("{stem}.stl")]);
    }
    let mut found = desk.files("out");
    found.sort();
    expected.sort();
    assert_eq!(found, expected);
    assert!(desk.is_glb("out/deep/er/line\nbreak.glb"));

    // A line break in a name is escaped.
    assert!(ran.out.contains("deep/er/line\\nbreak.obj"), "{}", ran.out);
    assert!(ran.out.contains("went in → came out"), "{}", ran.out);
    assert!(ran.out.ends_with("8 converted into out\n"), "{}", ran.out);
}

#[test]
fn json_has_a_line_per_conversion_with_its_report() {
    let desk = Desk::new();
    desk.put_crate();
    desk.put("broken.glb", "glTF and nothing more");
    let ran = desk.run(&[
        "convert",
        "crate/crate.obj",
        "broken.glb",
        "-o",
        "out",
        "--to",
        "fbx,gltf,vrm",
        "--json",
    ]);
    // The crate is converted twice; it has no skeleton for vrm; the other one fails.
    assert_eq!(ran.code, Some(1), "{}{}", ran.out, ran.err);
    let lines = ran.json();
    assert_eq!(lines.len(), 6, "{}", ran.out);
    let mut outcomes: Vec<_> = lines
        .iter()
        .map(|line| (line["input"].as_str().unwrap(), line["outcome"].as_str().unwrap()))
        .collect();
    outcomes.sort_unstable();
    assert_eq!(outcomes[..3], [("broken.glb", "failed"); 3]);
    let of_crate = ["skipped", "succeeded", "succeeded"].map(|outcome| ("crate/crate.obj", outcome));
    assert_eq!(outcomes[3..], of_crate);
    for line in &lines {
        assert!(line["seconds"].as_f64().is_some_and(|seconds| seconds >= 0.0), "{line}");
        if line["outcome"] == "succeeded" {
            let report = report(line);
            assert_eq!((report.input.format, report.input.files), (Format::Obj, 3));
            assert_eq!(report.output.counts.triangles, report.input.counts.triangles, "{line}");
            assert!(desk.path(line["output"].as_str().unwrap()).is_file(), "{line}");
            assert!(line["code"].is_null() && line["detail"].is_null(), "{line}");
        } else {
            assert!(
                line["report"].is_null() && line["code"].is_string() && line["detail"].is_string(),
                "{line}"
            );
        }
    }
}

#[test]
fn a_failed_conversion_does_not_stop_the_others() {
    let desk = Desk::new();
    desk.put("good.obj", TRIANGLE);
    desk.put("bad.fbx", "this is no model");
    let ran = desk.run(&["convert", "good.obj", "bad.fbx", "-o", "out", "--to", "glb"]);
    assert_eq!(ran.code, Some(1), "{}", ran.err);
    assert_eq!(desk.files("out"), ["good.glb"]);
    assert!(ran.out.contains("→ glb  failed: ") && ran.out.contains("(unknown_format)"), "{}", ran.out);
    assert!(ran.out.ends_with("1 converted into out, 1 failed\n"), "{}", ran.out);
}

fn piped(desk: &Desk, arguments: &[&str], input: Vec<u8>) -> (Option<i32>, Vec<u8>, String) {
    let mut child = desk
        .command(arguments)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let writer = std::thread::spawn(move || stdin.write_all(&input).unwrap());
    let output = child.wait_with_output().unwrap();
    writer.join().unwrap();
    let err = Ran::of(&output).err;
    (output.status.code(), output.stdout, err)
}

#[test]
fn standard_input_is_converted_to_standard_output() {
    let desk = Desk::new();
    let model = fs::read(example("humanoid.fbx")).unwrap();
    let (code, out, err) = piped(&desk, &["convert", "-", "-o", "-", "--to", "glb"], model);
    assert_eq!(code, Some(0), "{err}");
    assert!(out.starts_with(b"glTF"));
    assert!(err.contains("lost nothing"), "{err}");

    // On standard output, a result of several files is a zip.
    let (code, out, err) = piped(&desk, &["convert", "-", "-o", "-", "--to", "obj"], out);
    assert_eq!(code, Some(0), "{err}");
    let archive = zip::ZipArchive::new(std::io::Cursor::new(out)).unwrap();
    let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    assert!(names.contains(&"model.obj".to_owned()) && names.contains(&"model.mtl".to_owned()), "{names:?}");
    assert_eq!(desk.files("."), [""; 0]);
}

#[test]
fn a_zip_is_converted_to_a_zip() {
    let desk = Desk::new();
    let files = ["crate.obj", "crate.mtl", "crate wood.png"]
        .map(|name| (example(&format!("crate/{name}")), format!("things/{name}")));
    let mut bytes = std::io::Cursor::new(Vec::new());
    zip_files(&files, &mut bytes, || Ok(())).unwrap();
    desk.put("crate.zip", bytes.into_inner());
    desk.run(&["convert", "crate.zip", "-o", "out/crate.zip", "--to", "obj"]).succeeded();
    assert_eq!(desk.files("out"), ["crate.zip"]);

    let archive = zip::ZipArchive::new(fs::File::open(desk.path("out/crate.zip")).unwrap()).unwrap();
    let names: Vec<_> = archive.file_names().map(|name| name.unwrap().into_owned()).collect();
    for extension in ["obj", "mtl", "png"] {
        assert!(names.iter().any(|name| name.ends_with(extension)), "{extension}: {names:?}");
    }
    assert_eq!(names.len(), 3, "{names:?}");
}

#[test]
fn companions_go_beside_a_file_or_in_a_folder() {
    let desk = Desk::new();
    desk.put_crate();
    desk.run(&["convert", "crate/crate.obj", "-o", "beside/box.obj"]).succeeded();
    let beside = desk.files("beside");
    assert_eq!(beside, ["box.mtl", "box.obj", "crate wood.png"]);
    let ran = desk.run(&["convert", "beside/box.obj", "-o", "box.glb", "--json"]).succeeded();
    assert_eq!(report(&ran.json()[0]).output.counts.textures, 1);

    desk.run(&["convert", "crate/crate.obj", "-o", "out", "--to", "obj"]).succeeded();
    let own = desk.files("out");
    assert!(own.len() == 3 && own.contains(&"crate/crate.obj".to_owned()), "{own:?}");
    assert!(own.iter().all(|name| name.starts_with("crate/")), "{own:?}");
}

#[test]
fn an_existing_file_is_replaced_only_with_force() {
    let desk = Desk::new();
    desk.put("a.obj", TRIANGLE);
    desk.put("a.glb", "mine");
    let ran = desk.run(&["convert", "a.obj", "-o", "a.glb"]);
    assert_eq!(ran.code, Some(1));
    assert_eq!(ran.err, "a.obj → a.glb: a.glb exists; --force replaces it (output_exists)\n");
    assert_eq!(fs::read_to_string(desk.path("a.glb")).unwrap(), "mine");
    desk.run(&["convert", "a.obj", "-o", "a.glb", "--force"]).succeeded();
    assert!(desk.is_glb("a.glb"));
    assert_eq!(desk.files("."), ["a.glb", "a.obj"]);
}

#[test]
fn a_binary_usd_keeps_textures_and_names_missing_ones() {
    let desk = Desk::new();
    desk.put_crate();
    for name in ["crate.usdc", "crate.usd"] {
        desk.run(&["convert", "crate/crate.obj", "-o", name, "--force"]).succeeded();
    }
    let [texture] = desk.files("textures").try_into().unwrap();
    for name in ["crate.usdc", "crate.usd"] {
        let ran = desk.run(&["convert", name, "-o", "back", "--to", "glb", "--json", "--force"]).succeeded();
        let report = report(&ran.json()[0]);
        assert_eq!((report.input.counts.textures, report.output.counts.textures), (1, 1), "{name}");
        assert!(report.warnings.is_empty() && report.losses.is_empty(), "{report:?}");
    }
    let convert = || {
        let ran = desk.run(&["convert", "crate.usdc", "-o", "back", "--to", "glb", "--json", "--force"]);
        report(&ran.succeeded().json()[0])
    };
    // The texture is also found in another folder.
    fs::rename(desk.path("textures"), desk.path("art")).unwrap();
    assert_eq!(convert().output.counts.textures, 1);
    for folder in ["art", "crate"] {
        fs::remove_dir_all(desk.path(folder)).unwrap();
    }
    let report = convert();
    let [missing] = report.input.counts.missing_textures.as_slice() else { panic!("{report:?}") };
    assert!(missing.ends_with(&texture), "{missing}");
    assert_eq!(report.warnings, [format!("a texture was not found: {missing}")]);
}
