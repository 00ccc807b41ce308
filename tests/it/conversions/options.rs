//! The effects of options on results.

use meshgate::domain::{ErrorCode, Format};

use super::{Fixture, example};

#[tokio::test(flavor = "multi_thread")]
async fn options_change_the_result() {
    let fixture = Fixture::new();
    let fbx = example("humanoid.fbx");
    let convert = |target, options: &'static [(&'static str, &'static str)]| {
        let (fixture, fbx) = (&fixture, &fbx);
        async move { fixture.convert_with(fbx, target, options).await.unwrap().report.output }
    };
    let plain = convert(Format::Glb, &[]).await;

    let still = convert(Format::Glb, &[("animation", "false")]).await;
    assert!(plain.counts.clips.len() == 2 && still.counts.clips.is_empty());

    let large = convert(Format::Glb, &[("scale", "10")]).await;
    let height = |contents: &meshgate::domain::Contents| contents.counts.bounds_m.unwrap().size()[1];
    assert!((height(&large) / height(&plain) - 10.0).abs() < 0.01);

    let compressed = convert(Format::Glb, &[("draco", "true")]).await;
    assert!(compressed.bytes < plain.bytes && compressed.counts.triangles == plain.counts.triangles);

    let quads = fixture.convert(&example("crate/crate.obj"), Format::Obj).await.unwrap();
    let cut = fixture
        .convert_with(&example("crate/crate.obj"), Format::Obj, &[("triangulate", "true")])
        .await
        .unwrap();
    let faces = |conversion: &meshgate::conversion::FinishedConversion| {
        let text = std::fs::read_to_string(&conversion.files[0]).unwrap();
        text.lines().filter(|line| line.starts_with("f ")).map(|line| line.split(' ').count() - 1).max()
    };
    assert!(faces(&quads) > Some(3));
    assert_eq!(faces(&cut), Some(3));
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn packaging_decides_how_many_files_are_written() {
    let fixture = Fixture::new();
    let model = example("crate/crate.obj");
    let files = |target, packaging: &'static str| {
        let (fixture, model) = (&fixture, &model);
        async move {
            let conversion = fixture.convert_with(model, target, &[("packaging", packaging)]).await.unwrap();
            let names =
                conversion.files.iter().map(|file| file.file_name().unwrap().to_string_lossy().into_owned());
            (names.collect::<Vec<_>>(), conversion)
        }
    };
    let (auto, _) = files(Format::Obj, "auto").await;
    assert!(auto[0] == "crate.obj" && auto.contains(&"crate.mtl".to_owned()) && auto.len() == 3, "{auto:?}");
    let (single, conversion) = files(Format::Obj, "single").await;
    assert_eq!(single, ["crate.obj"]);
    assert!(
        conversion.report.losses.iter().any(|loss| loss.contains("material")),
        "{:?}",
        conversion.report.losses
    );
    let (zipped, conversion) = files(Format::Obj, "zip").await;
    assert_eq!(zipped, ["crate.zip"]);
    let mut archive = zip::ZipArchive::new(std::fs::File::open(&conversion.files[0]).unwrap()).unwrap();
    assert_eq!(archive.len(), 3);
    assert!(archive.by_name("crate.mtl").is_ok());

    let (gltf, conversion) = files(Format::Gltf, "auto").await;
    assert_eq!(gltf, ["crate.gltf"]);
    let text = std::fs::read_to_string(&conversion.files[0]).unwrap();
    assert!(
        text.contains("data:application/octet-stream;base64,")
            || text.contains("data:application/gltf-buffer")
    );
    let (separate, _) = files(Format::Gltf, "zip").await;
    assert_eq!(separate, ["crate.zip"]);
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_native_lane_and_blender_agree() {
    let fixture = Fixture::new();
    let gltf = fixture.make(&example("humanoid.fbx"), Format::Gltf).await;
    let native = fixture.convert(&gltf, Format::Glb).await.unwrap().report;
    assert_eq!(native.engine, "native");
    let blender = fixture.convert_with(&gltf, Format::Glb, &[("engine", "blender")]).await.unwrap().report;
    assert!(blender.engine.starts_with("blender 5"));
    let (ours, theirs) = (native.output.counts, blender.output.counts);
    assert_eq!(
        (ours.triangles, ours.bones, ours.clips.len()),
        (theirs.triangles, theirs.bones, theirs.clips.len())
    );
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn options_unsuitable_for_the_target_are_refused() {
    let fixture = Fixture::new();
    let error =
        fixture.convert_with(&example("humanoid.fbx"), Format::Stl, &[("draco", "true")]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::InvalidOption);
    let error =
        fixture.convert_with(&example("walk.bvh"), Format::Bvh, &[("animation", "false")]).await.unwrap_err();
    assert_eq!(error.code, ErrorCode::NoAnimation);
    fixture.converter.executor().shutdown().await;
}
