//! Models whose files are in sibling folders.

use meshgate::domain::{ErrorCode, Format};

use super::bad_input::run_python;
use super::{Fixture, example};
use crate::intake::zip_of;

/// A triangle with a texture, in the layout of model sites.
const SOURCE: &str = r#"{"asset":{"version":"2.0"},"scene":0,"scenes":[{"nodes":[0]}],"nodes":[{"mesh":0}],
    "meshes":[{"primitives":[{"attributes":{"POSITION":0},"material":0}]}],
    "materials":[{"pbrMetallicRoughness":{"baseColorTexture":{"index":0}}}],"textures":[{"source":0}],
    "images":[{"uri":"IMAGE"}],"buffers":[{"uri":"../data/a.bin","byteLength":36}],
    "bufferViews":[{"buffer":0,"byteLength":36}],"accessors":[{"bufferView":0,"componentType":5126,"count":3,
    "type":"VEC3","min":[0,0,0],"max":[1,1,0]}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_gltf_finds_its_files_in_sibling_folders() {
    let fixture = Fixture::new();
    let corners: Vec<u8> =
        [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0_f32].iter().flat_map(|x| x.to_le_bytes()).collect();
    let picture = std::fs::read(example("crate/crate wood.png")).unwrap();
    for uri in ["../textures/tex.png", r"C:\\art\\tex.png"] {
        let text = SOURCE.replace("IMAGE", uri);
        let files: [(&str, &[u8]); 3] =
            [("source/a.gltf", text.as_bytes()), ("data/a.bin", &corners), ("textures/tex.png", &picture)];
        let model = fixture.put("model.zip", zip_of(&files));
        for (target, options) in [
            (Format::Glb, [].as_slice()),
            (Format::Gltf, &[]),
            (Format::Gltf, &[("packaging", "zip")]),
            (Format::Fbx, &[]),
        ] {
            let conversion = fixture.convert_with(&model, target, options).await.unwrap();
            let report = conversion.report;
            assert_eq!(report.output.counts.textures, 1, "{uri} → {target}: {report:?}");
            assert!(report.losses.is_empty() && report.warnings.is_empty(), "{uri} → {target}: {report:?}");
            let size = std::fs::metadata(&conversion.files[0]).unwrap().len();
            assert!(size > picture.len() as u64 || options.len() == 1, "{uri} → {target}: {size}");
        }
    }
    let files: [(&str, &[u8]); 2] =
        [("source/a.gltf", SOURCE.as_bytes()), ("source/a/b.bin", corners.as_slice())];
    let error = fixture.convert(&fixture.put("none.zip", zip_of(&files)), Format::Glb).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::MissingFiles);
    fixture.converter.executor().shutdown().await;
}

/// Python code that saves two planes, with textures of one name and paths of another machine, as .blend or .fbx. It
/// also writes the images: 4 pixels wide for the body, 8 for the head.
const TWO_OF_ONE_NAME: &str = r#"
import bpy, os, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
target = sys.argv[1]
folder = os.path.dirname(target)
for name, size in (("body", 4), ("head", 8)):
    path = os.path.join(folder, name, "diffuse.png")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    image = bpy.data.images.new(name, size, size)
    image.filepath_raw, image.file_format = path, "PNG"
    image.save()
    bpy.ops.mesh.primitive_plane_add()
    material = bpy.data.materials.new(name)
    bpy.context.object.data.materials.append(material)
    node = material.node_tree.nodes.new("ShaderNodeTexImage")
    node.image = bpy.data.images.load(path)
    shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
    material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
    node.image.filepath_raw = ("C:\\art\\%s\\diffuse.png" if target.endswith("blend") else "/art/%s/diffuse.png") % name
if target.endswith("blend"):
    bpy.ops.wm.save_as_mainfile(filepath=target, relative_remap=False)
else:
    bpy.ops.export_scene.fbx(filepath=target, path_mode="ABSOLUTE")
"#;

/// The width of the texture of each material in the self-contained gltf `model`.
fn widths(model: &std::path::Path) -> Vec<(String, usize)> {
    let glb: serde_json::Value = serde_json::from_slice(&std::fs::read(model).unwrap()).unwrap();
    let index = |value: &serde_json::Value| usize::try_from(value.as_u64().unwrap()).unwrap();
    let folder = model.parent().unwrap();
    let bin = std::fs::read(folder.join(glb["buffers"][0]["uri"].as_str().unwrap())).unwrap();
    let material = |material: &serde_json::Value| {
        let texture = index(&material["pbrMetallicRoughness"]["baseColorTexture"]["index"]);
        let image = &glb["images"][index(&glb["textures"][texture]["source"])];
        let start = glb["bufferViews"][index(&image["bufferView"])]["byteOffset"].as_u64().unwrap_or(0);
        let width = bin[usize::try_from(start).unwrap()..][16..20].try_into().unwrap();
        (material["name"].as_str().unwrap().to_owned(), u32::from_be_bytes(width) as usize)
    };
    let mut widths: Vec<_> = glb["materials"].as_array().unwrap().iter().map(material).collect();
    widths.sort();
    widths
}

#[tokio::test(flavor = "multi_thread")]
async fn textures_with_equal_names_are_found_by_folder() {
    let fixture = Fixture::new();
    let script = fixture.put("make.py", TWO_OF_ONE_NAME);
    let right = [("body".to_owned(), 4), ("head".to_owned(), 8)];
    for name in ["two.blend", "two.fbx"] {
        let model = fixture.path(&format!("{name}-made/{name}"));
        std::fs::create_dir(model.parent().unwrap()).unwrap();
        run_python(&script, &model);
        let part = |path: &str| std::fs::read(model.with_file_name(path)).unwrap();
        let (main, body, head) = (part(name), part("body/diffuse.png"), part("head/diffuse.png"));
        let own = format!("source/{name}");
        let below = [("textures/body/diffuse.png", body.as_slice()), ("textures/head/diffuse.png", &head)];
        let deeper = fixture
            .put(&format!("{name}.zip"), zip_of(&[&[(own.as_str(), main.as_slice())], &below[..]].concat()));
        for sent in [&model, &deeper] {
            let conversion = fixture.convert_with(sent, Format::Gltf, &[("packaging", "zip")]).await.unwrap();
            let unpacked = conversion
                .folder
                .output()
                .join(conversion.files[0].with_extension("gltf").file_name().unwrap());
            assert_eq!(widths(&unpacked), right, "{}", sent.display());
            assert!(conversion.report.warnings.is_empty(), "{:?}", conversion.report.warnings);
        }

        let elsewhere = [("a/diffuse.png", body.as_slice()), ("b/diffuse.png", &head)];
        let unclear = zip_of(&[&[(name, main.as_slice())], &elsewhere[..]].concat());
        let report = fixture.convert(&fixture.put("unclear.zip", unclear), Format::Glb).await.unwrap().report;
        let said = "several files may be the texture diffuse.png; it may be the wrong one";
        assert_eq!(report.warnings, [said], "{name}");
    }
    fixture.converter.executor().shutdown().await;
}
