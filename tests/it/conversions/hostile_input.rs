//! Hostile models: each fails with a sentence, none reads files of this machine, and the next conversion works.

use std::path::Path;
use std::time::Duration;

use meshgate::conversion::Spec;
use meshgate::domain::{ErrorCode, Format, Options};
use meshgate::intake::Source;

use super::bad_input::CUBE;
use super::{Fixture, LONG};

/// Expects that a conversion fails with `code` and `word` in the sentence, and that a harmless one then succeeds.
pub async fn refused(fixture: &Fixture, model: &Path, target: Format, code: ErrorCode, word: &str) {
    let name = model.file_name().unwrap().to_string_lossy().into_owned();
    let error = fixture.convert(model, target).await.err().unwrap_or_else(|| panic!("{name} was converted"));
    assert_eq!(error.code, code, "{name}: {error}");
    assert!(error.detail.contains(word), "{name}: {error}");
    assert!(error.detail.len() < 400 && !error.detail.contains(char::is_control), "{name}: {error}");
    let cube = fixture.put("after.obj", CUBE);
    fixture.convert(&cube, Format::Stl).await.unwrap_or_else(|error| panic!("after {name}: {error}"));
}

fn deep_json() -> Vec<u8> {
    format!(r#"{{"asset":{{"version":"2.0"}},"extras":{}"#, "[".repeat(200_000)).into_bytes()
}

/// Four billion frames of a skeleton without channels, which need no numbers.
const ENDLESS_BVH: &str = "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 0\nEnd Site\n{\nOFFSET 0 1 0\n}\n}\nMOTION\n\
    Frames: 4000000000\nFrame Time: 0.033\n";

const NO_MOTION_BVH: &str = "HIERARCHY\nROOT a\n{\nOFFSET 0 0 0\nCHANNELS 3 Xrotation Yrotation Zrotation\nEnd Site\n{\n\
    OFFSET 0 1 0\n}\n}\n";

#[tokio::test(flavor = "multi_thread")]
async fn harmful_models_get_a_one_line_error() {
    let fixture = Fixture::new();
    let fbx = |version: u32| {
        [b"Kaydara FBX Binary  \0\x1a\0".as_slice(), &version.to_le_bytes(), &[0; 400]].concat()
    };
    let old_ascii = b"; FBX 5.0.0 project file\nFBXHeaderExtension:  {\n\tFBXHeaderVersion: 1000\n\tFBXVersion: 5000\n}\n";
    let old_glb = b"glTF\x01\0\0\0\x20\0\0\0\x04\0\0\0\0\0\0\0{}  ";
    let layer = |path: &str| format!("#usda 1.0\ndef \"a\" (references = @{path}@) {{}}\n").into_bytes();
    let rows: Vec<(&str, Vec<u8>, Format, ErrorCode, &str)> = vec![
        ("oldest.fbx", fbx(2000), Format::Glb, ErrorCode::ImportFailed, "too old"),
        // These can be read, but contain nothing.
        ("old.fbx", fbx(5000), Format::Glb, ErrorCode::EmptyModel, "no object"),
        ("ascii.fbx", old_ascii.to_vec(), Format::Glb, ErrorCode::EmptyModel, "no object"),
        ("old.glb", old_glb.to_vec(), Format::Fbx, ErrorCode::ImportFailed, "glTF 1.0"),
        ("deep.gltf", deep_json(), Format::Fbx, ErrorCode::ImportFailed, "deep"),
        ("layers.usda", layer("/etc/passwd.usda"), Format::Glb, ErrorCode::MissingFiles, "passwd"),
        ("climb.usda", layer("../../../etc/x.usd"), Format::Glb, ErrorCode::MissingFiles, "outside"),
        ("url.usda", layer("http://localhost/x.usdc"), Format::Glb, ErrorCode::MissingFiles, "outside"),
        ("none.bvh", NO_MOTION_BVH.into(), Format::Glb, ErrorCode::NoAnimation, "animation"),
        ("endless.bvh", ENDLESS_BVH.into(), Format::Fbx, ErrorCode::NoAnimation, "animation"),
    ];
    for (name, content, target, code, word) in rows {
        refused(&fixture, &fixture.put(&format!("{name}.d/{name}"), content), target, code, word).await;
    }
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn local_files_never_get_into_a_result() {
    let fixture = Fixture::new();
    let secret = fixture.put("secret.png", b"\x89PNG\r\n\x1a\nthe-secret-of-this-machine");
    let secret = secret.to_str().unwrap();
    for (number, path) in ["../../etc/passwd", "/etc/passwd", "../secret.png", secret].into_iter().enumerate()
    {
        let gltf = format!(
            r#"{{"asset":{{"version":"2.0"}},"images":[{{"uri":"{path}"}}],"textures":[{{"source":0}}],"materials":
            [{{"pbrMetallicRoughness":{{"baseColorTexture":{{"index":0}}}}}}],"scene":0,"scenes":[{{"nodes":[0]}}],
            "nodes":[{{"mesh":0}}],"meshes":[{{"primitives":[{{"attributes":{{"POSITION":0}},"material":0}}]}}],
            "accessors":[{{"bufferView":0,"componentType":5126,"count":3,"type":"VEC3","min":[0,0,0],"max":[1,1,0]}}],
            "bufferViews":[{{"buffer":0,"byteLength":36}}],"buffers":[{{"byteLength":36,"uri":"data:;base64,
AAAAAAAAAAAAAAAAAACAPwAAAAAAAAAAAAAAAAAAgD8AAAAA"}}]}}"#
        )
        .replace(",\nAAAA", ",AAAA");
        let usda = format!(
            "#usda 1.0\ndef Mesh \"m\" {{\n int[] faceVertexCounts=[3]\n int[] faceVertexIndices=[0,1,2]\n point3f[] \
             points=[(0,0,0),(1,0,0),(0,1,0)]\n rel material:binding=</mat>\n}}\ndef Material \"mat\" {{\n token \
             outputs:surface.connect=</mat/s.outputs:surface>\n def Shader \"s\" {{\n uniform token \
             info:id=\"UsdPreviewSurface\"\n color3f inputs:diffuseColor.connect=</mat/t.outputs:rgb>\n token \
             outputs:surface\n }}\n def Shader \"t\" {{\n uniform token info:id=\"UsdUVTexture\"\n asset \
             inputs:file=@{path}@\n color3f outputs:rgb\n }}\n}}\n"
        );
        let folder = format!("sent-{number}");
        fixture.put(&format!("{folder}/a.mtl"), format!("newmtl a\nKd 1 1 1\nmap_Kd {path}\n"));
        let models = [
            fixture.put(&format!("{folder}/a.gltf"), gltf),
            fixture.put(&format!("{folder}/b.obj"), format!("mtllib {path}\n{CUBE}")),
            fixture.put(&format!("{folder}/c.obj"), format!("mtllib a.mtl\nusemtl a\n{CUBE}")),
            fixture.put(&format!("{folder}/d.usda"), usda),
        ];
        for model in models {
            for target in [Format::Glb, Format::Usdz] {
                let conversion = fixture.convert(&model, target).await;
                let conversion =
                    conversion.unwrap_or_else(|error| panic!("{}, {path}: {error}", model.display()));
                let said = [&conversion.report.warnings, &conversion.report.input.counts.missing_textures];
                let base = path.rsplit('/').next().unwrap();
                let told = said.into_iter().flatten().any(|text| text.contains(base));
                assert!(told, "{}, {path}: {:?}", model.display(), conversion.report);
                for file in &conversion.files {
                    let bytes = std::fs::read(file).unwrap();
                    for word in [b"root:x:".as_slice(), b"the-secret-of-this-machine"] {
                        let found = bytes.windows(word.len()).any(|bytes| bytes == word);
                        assert!(!found, "{}, {path}", model.display());
                    }
                }
            }
        }
    }
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn names_inside_a_model_cannot_write_to_a_terminal() {
    let fixture = Fixture::new();
    let name = "two\\nlines\\u001b[2J\\u202ename";
    let model = format!(
        r#"{{"asset":{{"version":"2.0"}},"images":[{{"uri":"{name}.png"}}],"textures":[{{"source":0}}],"materials":
        [{{"name":"{name}","pbrMetallicRoughness":{{"baseColorTexture":{{"index":0}}}}}}],"scene":0,
        "scenes":[{{"nodes":[0]}}],"nodes":[{{"mesh":0,"name":"{name}"}}],
        "meshes":[{{"name":"{name}","primitives":[{{"attributes":{{"POSITION":0}},"material":0}}]}}],
        "accessors":[{{"bufferView":0,"componentType":5126,"count":3,"type":"VEC3","min":[0,0,0],"max":[1,1,0]}}],
        "bufferViews":[{{"buffer":0,"byteLength":36}}],"buffers":[{{"byteLength":36,"uri":
        "data:;base64,AAAAAAAAAAAAAAAAAACAPwAAAAAAAAAAAAAAAAAAgD8AAAAA"}}]}}"#
    );
    let model = fixture.put("names.gltf", model);
    for target in [Format::Glb, Format::Fbx, Format::Usda, Format::Blend, Format::Obj, Format::Stl] {
        let conversion =
            fixture.convert(&model, target).await.unwrap_or_else(|error| panic!("{target}: {error}"));
        let sentences = conversion.report.losses.iter().chain(&conversion.report.warnings);
        for sentence in sentences {
            assert!(
                !sentence.contains(|c: char| c.is_control() || c == '\u{202e}'),
                "{target}: {sentence:?}"
            );
        }
        let json = serde_json::to_string(&conversion.report).unwrap();
        assert!(!json.contains(char::is_control), "{target}: {json}");
    }
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_slow_model_ends_at_its_timeout() {
    let fixture = Fixture::new();
    fixture.converter.executor().start().await.unwrap();
    // One bone with three million frames, each of which becomes a key.
    let motion = "0 0 0\n".repeat(3_000_000);
    let bvh = format!("{NO_MOTION_BVH}MOTION\nFrames: 3000000\nFrame Time: 0.00001\n{motion}");
    let spec = Spec {
        sources: Source::FileWithSiblings(fixture.put("slow.bvh", bvh)),
        main: None,
        target: Format::Usda,
        options: Options::default(),
        timeout: Duration::from_secs(3),
    };
    let began = std::time::Instant::now();
    let error = fixture.converter.convert(spec, &|_, _| ()).await.expect_err("it would take minutes");
    assert_eq!(error.code, ErrorCode::Timeout, "{error}");
    assert!(began.elapsed() < LONG / 4, "{:?}", began.elapsed());
    fixture.convert(&fixture.put("after.obj", CUBE), Format::Stl).await.unwrap();
    fixture.converter.executor().shutdown().await;
}

/// Tries small files with overlapping or repeatedly referenced parts.
#[tokio::test(flavor = "multi_thread")]
async fn repeated_references_do_not_multiply_the_result() {
    let fixture = Fixture::new();
    let again = |what: &str, times: usize| vec![what; times].join(",");
    fixture.put("images/a.png", [b"\x89PNG\r\n\x1a\n".as_slice(), &vec![0; 4 << 20]].concat());
    let images = again(r#"{"uri":"a.png"}"#, 20_000);
    let images =
        fixture.put("images/a.gltf", format!(r#"{{"asset":{{"version":"2.0"}},"images":[{images}]}}"#));
    refused(&fixture, &images, Format::Gltf, ErrorCode::OutputTooLarge, "times larger").await;

    fixture.put("buffers/a.bin", vec![0; 4 << 20]);
    let buffers = again(r#"{"uri":"a.bin","byteLength":4194304}"#, 1000);
    let buffers =
        fixture.put("buffers/a.gltf", format!(r#"{{"asset":{{"version":"2.0"}},"buffers":[{buffers}]}}"#));
    refused(&fixture, &buffers, Format::Glb, ErrorCode::OutputTooLarge, "times larger").await;

    // 20,000 clips whose keys are the same million numbers.
    let accessors = again(r#"{"bufferView":0,"componentType":5126,"count":1000000,"type":"SCALAR"}"#, 20_000);
    let samplers: Vec<String> =
        (0..20_000).map(|number| format!(r#"{{"input":{number},"output":{number}}}"#)).collect();
    let clips = format!(
        r#"{{"asset":{{"version":"2.0"}},"accessors":[{accessors}],"bufferViews":[{{"buffer":0,"byteLength":4000000}}],
        "buffers":[{{"uri":"a.bin","byteLength":4000000}}],"nodes":[{{}}],
        "animations":[{{"channels":[],"samplers":[{}]}}]}}"#,
        samplers.join(",")
    );
    fixture.put("clips/a.bin", vec![0; 4_000_000]);
    let clips = fixture.put("clips/a.gltf", clips);
    fixture.convert(&clips, Format::Glb).await.unwrap();
}

/// A .blend with a driver and a text block that registers a handler; if run, each would leave a file in the result.
const SCRIPTED_BLEND: &str = r#"
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_cube_add()
driver = bpy.context.object.driver_add("location", 0).driver
driver.type = "SCRIPTED"
driver.expression = "(lambda: open('out/ran-driver', 'w').close() or 0.0)()"
text = bpy.data.texts.new("start.py")
text.write("""import bpy
open('out/ran-text', 'w').close()
@bpy.app.handlers.persistent
def handler(*_):
    open('out/ran-handler', 'w').close()
bpy.app.handlers.load_post.append(handler)
bpy.app.handlers.depsgraph_update_post.append(handler)
""")
text.use_module = True
bpy.context.preferences.filepaths.use_scripts_auto_execute = False
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1])
"#;

#[tokio::test(flavor = "multi_thread")]
async fn scripts_in_a_blend_do_not_run() {
    let fixture = Fixture::new();
    std::fs::create_dir(fixture.path("out")).unwrap();
    let blend = fixture.path("scripted.blend");
    super::bad_input::run_python(&fixture.put("make.py", SCRIPTED_BLEND), &blend);
    for target in [Format::Glb, Format::Blend, Format::Usda] {
        let conversion =
            fixture.convert(&blend, target).await.unwrap_or_else(|error| panic!("{target}: {error}"));
        let written = std::fs::read_dir(conversion.folder.output()).unwrap();
        let ran =
            written.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with("ran"));
        assert_eq!(ran.count(), 0, "{target}: {:?}", conversion.files);
        let told = conversion.report.warnings.iter().any(|warning| warning.contains("scripts and drivers"));
        assert!(told, "{target}: {:?}", conversion.report.warnings);
    }
    fixture.converter.executor().shutdown().await;
}
