//! Reports of whole conversions list no false losses, and list losses that counts do not show.

use meshgate::domain::report::Report;
use meshgate::domain::{Feature, Format};

use super::{Fixture, example};

async fn report(fixture: &Fixture, model: &str, target: Format) -> Report {
    fixture
        .convert(&example(model), target)
        .await
        .unwrap_or_else(|error| panic!("{model} → {target}: {error}"))
        .report
}

#[tokio::test(flavor = "multi_thread")]
async fn only_losses_of_the_target_format_are_reported() {
    let fixture = Fixture::new();
    for target in [Format::Fbx, Format::Glb, Format::Usdz, Format::Abc, Format::Ply] {
        let report = report(&fixture, "humanoid.vrm", target).await;
        for loss in &report.losses {
            assert!(!loss.contains("did not come out"), "{target}: {loss}");
        }
        let expressions = report.losses.iter().any(|loss| loss.contains("expression"));
        // glb is repacked, so that the VRM extension stays in the file.
        assert_eq!(expressions, target != Format::Glb, "{target}: {:?}", report.losses);
        let bones = report.losses.iter().any(|loss| loss.contains("bones"));
        assert_eq!(bones, !target.holds(Feature::Skeleton), "{target}: {:?}", report.losses);
    }
    let crate_in_parts = report(&fixture, "crate/crate.obj", Format::Ply).await;
    let before = crate_in_parts.input.counts.meshes;
    let joined = crate_in_parts
        .losses
        .iter()
        .any(|loss| loss == &format!("{before} meshes became one: ply holds no more"));
    assert_eq!(joined, before > 1, "{:?}", crate_in_parts.losses);
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_alembic_file_holds_its_baked_clip() {
    let fixture = Fixture::new();
    let report = report(&fixture, "humanoid.fbx", Format::Abc).await;
    let [clip] = &report.output.counts.clips[..] else { panic!("{:?}", report.output.counts.clips) };
    assert!(report.input.counts.clips.iter().any(|before| before.frames == clip.frames), "{clip:?}");
    let clips: Vec<_> = report.losses.iter().filter(|loss| loss.contains("clip")).collect();
    assert_eq!(clips, ["1 of 2 clips: abc holds one: without Wave"]);
    fixture.converter.executor().shutdown().await;
}
