//! Models whose files lie in folders beside each other.

use meshgate::domain::{ErrorCode, Format};

use super::{Lab, example};
use crate::intake::zip_of;

/// A triangle with a texture, as sites for models pack it.
const SOURCE: &str = r#"{"asset":{"version":"2.0"},"scene":0,"scenes":[{"nodes":[0]}],"nodes":[{"mesh":0}],
    "meshes":[{"primitives":[{"attributes":{"POSITION":0},"material":0}]}],
    "materials":[{"pbrMetallicRoughness":{"baseColorTexture":{"index":0}}}],"textures":[{"source":0}],
    "images":[{"uri":"IMAGE"}],"buffers":[{"uri":"../data/a.bin","byteLength":36}],
    "bufferViews":[{"buffer":0,"byteLength":36}],"accessors":[{"bufferView":0,"componentType":5126,"count":3,
    "type":"VEC3","min":[0,0,0],"max":[1,1,0]}]}"#;

#[tokio::test(flavor = "multi_thread")]
async fn a_gltf_finds_its_files_in_folders_beside_its_own() {
    let lab = Lab::new();
    let corners: Vec<u8> =
        [0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0, 0.0_f32].iter().flat_map(|x| x.to_le_bytes()).collect();
    let picture = std::fs::read(example("crate/crate wood.png")).unwrap();
    for uri in ["../textures/tex.png", r"C:\\art\\tex.png"] {
        let text = SOURCE.replace("IMAGE", uri);
        let files: [(&str, &[u8]); 3] = [
            ("source/a.gltf", text.as_bytes()),
            ("data/a.bin", &corners),
            ("textures/tex.png", &picture),
        ];
        let model = lab.put("model.zip", zip_of(&files));
        for (target, options) in [
            (Format::Glb, [].as_slice()),
            (Format::Gltf, &[]),
            (Format::Gltf, &[("packaging", "zip")]),
            (Format::Fbx, &[]),
        ] {
            let outcome = lab.convert_with(&model, target, options).await.unwrap();
            let report = outcome.report;
            assert_eq!(report.output.counts.textures, 1, "{uri} → {target}: {report:?}");
            assert!(report.losses.is_empty() && report.warnings.is_empty(), "{uri} → {target}: {report:?}");
            let size = std::fs::metadata(&outcome.files[0]).unwrap().len();
            assert!(size > picture.len() as u64 || options.len() == 1, "{uri} → {target}: {size}");
        }
    }
    let files: [(&str, &[u8]); 2] =
        [("source/a.gltf", SOURCE.as_bytes()), ("source/a/b.bin", corners.as_slice())];
    let error = lab.convert(&lab.put("none.zip", zip_of(&files)), Format::Glb).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::MissingFiles);
    lab.converter.shutdown().await;
}
