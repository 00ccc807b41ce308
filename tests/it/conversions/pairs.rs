//! Every pair of formats converts, or fails with the reason.

use meshgate::domain::report::Report;
use meshgate::domain::{ErrorCode, Feature, Format};

use super::{Fixture, LONG, example};

/// The height of the example's figure, in metres.
const HEIGHT: f64 = 1.8;

/// A model of each format, all with the same figure or the same walk.
async fn models(fixture: &Fixture) -> Vec<(Format, std::path::PathBuf)> {
    let mut models = Vec::new();
    for format in Format::all() {
        let path = match format {
            Format::Fbx => example("humanoid.fbx"),
            Format::Vrm => example("humanoid.vrm"),
            Format::Blend => example("humanoid.blend"),
            Format::Bvh => example("walk.bvh"),
            Format::Vrma => fixture.make(&example("walk.bvh"), Format::Vrma).await,
            _ => fixture.make(&example("humanoid.blend"), format).await,
        };
        models.push((format, path));
    }
    models
}

#[tokio::test(flavor = "multi_thread")]
async fn every_pair_converts_or_says_why_not() {
    let fixture = Fixture::new();
    let models = models(&fixture).await;
    let mut wrong = Vec::new();
    for (source, path) in &models {
        // Two at a time, as there are slots.
        let targets: Vec<Format> = Format::all().collect();
        for pair in targets.chunks(2) {
            let second = fixture.convert(path, pair[pair.len() - 1]);
            let (first, second) = tokio::join!(fixture.convert(path, pair[0]), second);
            for (target, result) in pair.iter().zip([first, second]) {
                let complaint = match (source.unsupported_reason(*target), result) {
                    (Some(reason), Err(error)) if error.code == ErrorCode::UnsupportedPair => {
                        (error.detail != reason).then_some(error.detail)
                    }
                    (Some(_), other) => Some(format!("should be refused: {:?}", other.map(|_| ()))),
                    (None, Ok(conversion)) => fault(*source, *target, &conversion.report),
                    (None, Err(error)) => Some(format!("{}: {error}", error.code)),
                };
                wrong.extend(complaint.map(|complaint| format!("{source} → {target}: {complaint}")));
            }
        }
    }
    fixture.converter.executor().shutdown().await;
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// The first mistake in a report of the figure or the walk, if any.
fn fault(source: Format, target: Format, report: &Report) -> Option<String> {
    let (input, output) = (&report.input.counts, &report.output.counts);
    if report.input.format != source || report.output.format != target {
        return Some(format!("reported as {} → {}", report.input.format, report.output.format));
    }
    if target.holds(Feature::Mesh) && input.meshes > 0 {
        if output.triangles != input.triangles {
            return Some(format!("{} triangles became {}", input.triangles, output.triangles));
        }
        let Some(bounds) = output.bounds_m else { return Some("no bounds".to_owned()) };
        let [width, height, depth] = bounds.size();
        // Upright: taller than wide, and flat.
        if (height - HEIGHT).abs() > 0.01 || width > height || depth > width {
            return Some(format!("it measures {width:.3} × {height:.3} × {depth:.3} m"));
        }
    }
    if source.holds(Feature::Skeleton) && target.holds(Feature::Skeleton) && output.bones < input.bones {
        return Some(format!("{} bones became {}", input.bones, output.bones));
    }
    if source.holds(Feature::Clips) && target.holds(Feature::Clips) {
        for clip in &output.clips {
            let same = |other: &&meshgate::domain::report::Clip| (other.seconds - clip.seconds).abs() < 0.05;
            if !input.clips.iter().any(|clip| same(&clip)) {
                return Some(format!("{:?} became {clip:?}", input.clips));
            }
        }
        let length = |loss: &&String| loss.contains("became longer") || loss.contains("their length");
        if let Some(loss) = report.losses.iter().find(|loss| length(loss) || loss.contains("became shorter"))
        {
            return Some(loss.clone());
        }
        if output.clips.len() < input.clips.len() && report.losses.is_empty() {
            return Some("clips were lost in silence".to_owned());
        }
    }
    let unsaid = |feature: Feature, before: u64, after: u64| {
        (after < before && report.losses.is_empty()).then(|| format!("{} lost in silence", feature.word()))
    };
    unsaid(Feature::Materials, input.materials, output.materials)
        .or_else(|| unsaid(Feature::Textures, input.textures, output.textures))
        .or_else(|| unsaid(Feature::BlendShapes, input.blend_shapes, output.blend_shapes))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_motion_keeps_every_frame_through_any_pair() {
    let fixture = Fixture::new();
    let walk = fixture.convert(&example("walk.bvh"), Format::Bvh).await.unwrap().report;
    let [clip] = &walk.input.counts.clips[..] else { panic!("{:?}", walk.input.counts.clips) };
    for through in [Format::Glb, Format::Fbx, Format::Usdc, Format::Blend, Format::Vrma] {
        let between = fixture.make(&example("walk.bvh"), through).await;
        let back = fixture.convert(&between, Format::Bvh).await.unwrap().report;
        let [again] = &back.output.counts.clips[..] else { panic!("{through}: {:?}", back.output) };
        assert_eq!(again.frames, clip.frames, "through {through}");
        assert!((again.fps - clip.fps).abs() < 0.01, "through {through}: {} fps", again.fps);
    }
    fixture.converter.executor().shutdown().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn clips_keep_their_names() {
    let fixture = Fixture::new();
    let names = |report: &Report| {
        let mut names: Vec<_> = report.output.counts.clips.iter().map(|clip| clip.name.clone()).collect();
        names.sort();
        names
    };
    let mut model = example("humanoid.fbx");
    for target in [Format::Glb, Format::Fbx, Format::Blend, Format::Fbx, Format::Glb, Format::Gltf] {
        let report = fixture.convert(&model, target).await.unwrap().report;
        assert_eq!(names(&report), ["Walk", "Wave"], "{target}");
        assert!(report.losses.is_empty(), "{target}: {:?}", report.losses);
        model = fixture.make(&model, target).await;
    }
    fixture.converter.executor().shutdown().await;
    let _ = LONG;
}
