//! Models that cannot be converted: each fails with a sentence and a code, and the next conversion works.

use std::path::Path;
use std::time::Duration;

use meshgate::conversion::Spec;
use meshgate::domain::{ErrorCode, Format, Options};
use meshgate::intake::{FileSource, NamedFile, Source};

use super::{Fixture, LONG, example};
use crate::busy_engine::engine;

pub const CUBE: &str = "o cube\nv 0 0 0\nv 1 0 0\nv 1 1 0\nv 0 1 0\nv 0 0 1\nv 1 0 1\nv 1 1 1\nv 0 1 1\n\
    f 1 4 3 2\nf 5 6 7 8\nf 1 2 6 5\nf 2 3 7 6\nf 3 4 8 7\nf 4 1 5 8\n";

/// The name and content of a file, the target, the code, and a word of the sentence.
type Row = (&'static str, &'static [u8], Format, ErrorCode, &'static str);

const STILL_BVH: &[u8] =
    b"HIERARCHY\nROOT Hips\n{\n  OFFSET 0 0 0\n  CHANNELS 3 Xrotation Yrotation Zrotation\n  \
    End Site\n  {\n    OFFSET 0 1 0\n  }\n}\nMOTION\nFrames: 0\nFrame Time: 0.033\n";

const ROWS: &[Row] = &[
    ("empty.fbx", b"", Format::Glb, ErrorCode::EmptyFile, "empty"),
    ("text.fbx", b"this is no model at all\n", Format::Glb, ErrorCode::UnknownFormat, "text"),
    ("picture.fbx", b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR", Format::Glb, ErrorCode::UnknownFormat, "PNG"),
    ("old.gltf", br#"{"asset":{"version":"1.0"},"scenes":{}}"#, Format::Fbx, ErrorCode::ImportFailed, "1.0"),
    (
        "nobin.gltf",
        br#"{"asset":{"version":"2.0"},"buffers":[{"uri":"gone.bin","byteLength":4}]}"#,
        Format::Glb,
        ErrorCode::MissingFiles,
        "gone.bin",
    ),
    (
        "escape.gltf",
        br#"{"asset":{"version":"2.0"},"buffers":[{"uri":"../../etc/passwd","byteLength":4}]}"#,
        Format::Glb,
        ErrorCode::MissingFiles,
        "etc/passwd",
    ),
    (
        "huge.gltf",
        br#"{"asset":{"version":"2.0"},"buffers":[{"uri":"data:;base64,AAAA","byteLength":3}],
            "bufferViews":[{"buffer":0,"byteLength":3}],"meshes":[{"primitives":[{"attributes":{"POSITION":0}}]}],
            "accessors":[{"bufferView":0,"componentType":5126,"count":4294967295,"type":"VEC3"}]}"#,
        Format::Fbx,
        ErrorCode::ImportFailed,
        "4294967295",
    ),
    (
        "nothing.gltf",
        br#"{"asset":{"version":"2.0"},"scene":0,"scenes":[{"nodes":[]}]}"#,
        Format::Fbx,
        ErrorCode::EmptyModel,
        "no object",
    ),
    ("nothing.gltf", br#"{"asset":{"version":"2.0"}}"#, Format::Glb, ErrorCode::EmptyModel, "no object"),
    ("still.bvh", STILL_BVH, Format::Glb, ErrorCode::NoAnimation, "animation"),
    ("cube.obj", CUBE.as_bytes(), Format::Vrm, ErrorCode::UnsupportedPair, "skeleton"),
];

#[tokio::test(flavor = "multi_thread")]
async fn invalid_models_get_a_one_line_error() {
    let fixture = Fixture::new();
    let cube = fixture.put("good.obj", CUBE);
    for (name, content, target, code, word) in ROWS {
        let model = fixture.put(name, content);
        let error =
            fixture.convert(&model, *target).await.err().unwrap_or_else(|| panic!("{name} was converted"));
        assert_eq!(error.code, *code, "{name}: {error}");
        assert!(error.detail.contains(word), "{name}: {error}");
        assert!(!error.detail.contains('\n') && !error.detail.ends_with('.'), "{name}: {error}");
        fixture.convert(&cube, Format::Stl).await.unwrap_or_else(|error| panic!("after {name}: {error}"));
    }
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn skeletons_that_are_not_human_are_refused_for_vrm() {
    let fixture = Fixture::new();
    let python = b"import bpy, sys\n\
        bpy.ops.wm.read_factory_settings(use_empty=True)\n\
        bpy.ops.object.armature_add()\n\
        bpy.ops.mesh.primitive_cube_add()\n\
        bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])\n";
    let path = fixture.path("pole.blend");
    run_python(&fixture.put("make.py", python), &path);
    let error = fixture.convert(&path, Format::Vrm).await.expect_err("a pole should not become an avatar");
    assert_eq!(error.code, ErrorCode::NotHumanoid, "{error}");
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_empty_blend_is_an_empty_model() {
    let fixture = Fixture::new();
    let python = b"import bpy, sys\n\
        bpy.ops.wm.read_factory_settings(use_empty=True)\n\
        bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])\n";
    let path = fixture.path("empty.blend");
    run_python(&fixture.put("make.py", python), &path);
    let error = fixture.convert(&path, Format::Glb).await.expect_err("there is nothing in it");
    assert_eq!(error.code, ErrorCode::EmptyModel, "{error}");
    fixture.converter.executor().shutdown().await;
}

pub fn run_python(script: &Path, output: &Path) {
    let status = std::process::Command::new(engine())
        .arg(script)
        .arg(output)
        .stdout(std::process::Stdio::null())
        .status()
        .unwrap();
    assert!(status.success());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gltf_that_needs_draco_is_read() {
    let fixture = Fixture::new();
    let cube = fixture.put("cube.obj", CUBE);
    let compressed = fixture.convert_with(&cube, Format::Glb, &[("draco", "true")]).await.unwrap();
    let plain = fixture.convert(&compressed.files[0], Format::Stl).await.unwrap();
    assert_eq!(plain.report.output.counts.triangles, 12);
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unusual_file_names_are_kept() {
    let fixture = Fixture::new();
    for (name, stem) in
        [("キューブ 立方体.obj", "キューブ 立方体"), ("two\nlines.obj", "two lines"), ("..obj", "model")]
    {
        let path = fixture.put("sent", CUBE);
        let spec = Spec {
            sources: Source::Files(vec![NamedFile {
                file: FileSource::UserFile(path),
                name: name.to_owned(),
            }]),
            main: None,
            target: Format::Glb,
            options: Options::default(),
            timeout: LONG,
        };
        let conversion = fixture.converter.convert(spec, &|_, _| ()).await.unwrap();
        let written = conversion.files[0].file_stem().unwrap().to_string_lossy().into_owned();
        assert_eq!(written, conversion.stem);
        assert!(!written.contains('\n') && !written.is_empty() && !written.starts_with('.'), "{written:?}");
        if !name.starts_with('.') && !name.contains('\n') {
            assert_eq!(written, stem);
        }
    }
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conversion_ends_at_its_timeout() {
    let fixture = Fixture::new();
    let spec = Spec {
        sources: Source::FileWithSiblings(example("humanoid.fbx")),
        main: None,
        target: Format::Usdz,
        options: Options::default(),
        timeout: Duration::from_millis(20),
    };
    // The engine is warm, so that its start does not use up the time.
    fixture.converter.executor().start().await.unwrap();
    let error = fixture.converter.convert(spec, &|_, _| ()).await.expect_err("20 ms are not enough");
    assert_eq!(error.code, ErrorCode::Timeout, "{error}");
    fixture.convert(&fixture.put("cube.obj", CUBE), Format::Stl).await.unwrap();
    fixture.converter.executor().shutdown().await;
}
