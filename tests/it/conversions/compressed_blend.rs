//! Compressed .blend files of all Blender versions, with their textures beside them.

use std::fs;
use std::process::Command;

use meshgate::domain::Format;

use super::bad_input::run_python;
use super::{Fixture, example};

/// Python code that saves a plane, compressed and uncompressed, whose texture has a path of another machine.
const WITH_A_TEXTURE: &str = r#"
import bpy, sys
bpy.ops.wm.read_factory_settings(use_empty=True)
bpy.ops.mesh.primitive_plane_add()
material = bpy.data.materials.new("Wood")
image = bpy.data.images.new("wood", 4, 4)
image.source = "FILE"
image.filepath_raw = r"C:\art\Far Wood.png"
node = material.node_tree.nodes.new("ShaderNodeTexImage")
node.image = image
shader = next(node for node in material.node_tree.nodes if node.type == "BSDF_PRINCIPLED")
material.node_tree.links.new(node.outputs["Color"], shader.inputs["Base Color"])
bpy.context.object.data.materials.append(material)
bpy.ops.wm.save_as_mainfile(filepath=sys.argv[1], compress=sys.argv[1].endswith("zstd.blend"))
"#;

#[tokio::test(flavor = "multi_thread")]
async fn the_textures_beside_a_compressed_blend_are_found() {
    let fixture = Fixture::new();
    let script = fixture.put("make.py", WITH_A_TEXTURE);
    let models = ["plain.blend", "zstd.blend", "gzip.blend"].map(|name| fixture.path(name));
    let [plain, zstd, gzip] = &models;
    run_python(&script, plain);
    run_python(&script, zstd);
    let compressed = Command::new("gzip").arg("--stdout").arg(plain).output().unwrap();
    assert!(compressed.status.success());
    fs::write(gzip, compressed.stdout).unwrap();
    let beginnings = models.each_ref().map(|model| fs::read(model).unwrap()[..2].to_vec());
    assert_eq!(beginnings, [b"BL", b"\x28\xb5", b"\x1f\x8b"]);

    for (place, found) in [("none", 0), ("tex/FAR WOOD.PNG", 1)] {
        if found == 1 {
            fixture.put(place, fs::read(example("crate/crate wood.png")).unwrap());
        }
        for model in &models {
            let report = fixture.convert(model, Format::Glb).await.unwrap().report;
            let name = model.file_name().unwrap().display();
            assert_eq!(report.output.counts.textures, found, "{name}: {report:?}");
            assert_eq!(report.warnings.is_empty(), found == 1, "{name}: {:?}", report.warnings);
        }
    }
    fixture.converter.executor().shutdown().await;
}
