//! Reports what a result lacks of its model.

mod clip_lengths;

use std::collections::HashSet;

use crate::domain::report::{Clip, Contents, Counts};
use crate::domain::{ConversionError, ErrorCode, Feature, Format, Options};
use crate::fs::names;

/// Compares the model with the result; returns one clause for each loss.
///
/// `reported` are Blender's own clauses, which give reasons that no count shows; their losses are not repeated.
/// `merged` textures became channels of others and are not lost. Vertices are not compared, because formats split them
/// at seams differently. Objects are not compared either, because formats join and split them by their own rules;
/// meshes, bones, cameras and lights stand for them.
pub fn losses(
    input: &Contents,
    output: &Contents,
    options: &Options,
    merged: u64,
    reported: &[String],
) -> Vec<String> {
    let (before, after, target) = (&input.counts, &output.counts, output.format);
    let joined = target.info().one_mesh && after.meshes == 1 && before.meshes > 1;
    let compare = |(feature, before, after, noun): (Feature, u64, u64, &str)| {
        let noun = plural(before, noun);
        (after < before).then(|| {
            let gone = before - after;
            if (feature, target) == (Feature::Skeleton, Format::Vrma) {
                format!("{gone} of {before} {noun}: {target} holds only a human's")
            } else if after > 0 {
                format!("{gone} of {before} {noun} did not come out")
            } else if target.holds(feature) {
                format!("{before} {noun} did not come out")
            } else {
                format!("{before} {noun}: {target} holds no {}", feature.word())
            }
        })
    };
    let mut losses: Vec<String> = Vec::new();
    let mut rows = Vec::new();
    if joined {
        losses.push(format!("{} meshes became one: {target} holds no more", before.meshes));
    } else {
        rows.push((Feature::Mesh, before.meshes, after.meshes, "mesh"));
    }
    if after.meshes > 0 {
        // The layers of joined meshes are joined, too.
        let layers = |before: u64, after: u64| if joined && after > 0 { before.min(after) } else { before };
        let uvs = layers(before.uv_layers, after.uv_layers);
        let colours = layers(before.vertex_colours, after.vertex_colours);
        // A warning reports textures that were missing in the model.
        let textures = before.textures.saturating_sub(before.missing_textures.len() as u64);
        let kept = if after.textures > 0 { after.textures.saturating_add(merged) } else { 0 };
        rows.extend([
            (Feature::Mesh, before.triangles, after.triangles, "triangle"),
            (Feature::Uvs, uvs, after.uv_layers, "UV layer"),
            (Feature::VertexColours, colours, after.vertex_colours, "vertex colour layer"),
            (Feature::Materials, before.materials, after.materials, "material"),
            (Feature::Textures, textures, kept, "texture"),
            (Feature::Skin, before.skins, after.skins, "skinned mesh"),
            (Feature::BlendShapes, before.blend_shapes, after.blend_shapes, "blend shape"),
        ]);
    }
    rows.extend([
        (Feature::Skeleton, before.bones, after.bones, "bone"),
        (Feature::Cameras, before.cameras, after.cameras, "camera"),
        (Feature::Lights, before.lights, after.lights, "light"),
    ]);
    losses.extend(rows.into_iter().filter_map(compare));
    if before.humanoid && !after.humanoid {
        losses.push(format!("the humanoid assignment: {target} holds none"));
    }
    if options.animation {
        losses.extend(clips(before, after, target, reported));
        losses.extend(clip_lengths::losses(input, output));
    }
    // Drops clauses that Blender reports with names.
    losses.retain(|clause| {
        !reported
            .iter()
            .any(|other| other.strip_prefix(clause.as_str()).is_some_and(|rest| rest.starts_with(": ")))
    });
    losses
}

/// `noun` as it stands after a number.
fn plural(count: u64, noun: &str) -> String {
    let ending = if noun.ends_with("sh") { "es" } else { "s" };
    if count == 1 { noun.to_owned() } else { format!("{noun}{ending}") }
}

fn clips(before: &Counts, after: &Counts, target: Format, reported: &[String]) -> Option<String> {
    let (count, left) = (before.clips.len(), after.clips.len());
    // Blender itself names the clips that a bvh or vrma lacks.
    if left >= count || matches!(target, Format::Bvh | Format::Vrma) {
        return None;
    }
    let noun = plural(count as u64, "clip");
    let all = format!("{count} {noun}: ");
    if reported.iter().any(|clause| clause.starts_with(&all)) {
        return None;
    }
    if !target.holds(Feature::Clips) {
        return Some(format!("{count} {noun}: {target} holds no animation"));
    }
    let there: HashSet<&str> = after.clips.iter().map(|clip| clip.name.as_str()).collect();
    let names_before = before.clips.iter().map(|clip: &Clip| clip.name.as_str());
    let gone: Vec<&str> = names_before.filter(|name| !there.contains(name)).collect();
    // Names may change on the way; then only the number is known.
    let names = if gone.len() == count - left { names::listed(&gone, MAX_NAMES) } else { String::new() };
    if left == 0 {
        return Some(format!("{count} {noun} did not come out: {}", names::listed(&gone, MAX_NAMES)));
    }
    let number = count - left;
    Some(match (target.info().one_clip && left == 1, names.is_empty()) {
        (true, true) => format!("{number} of {count} {noun}: {target} holds one"),
        (true, false) => format!("{number} of {count} {noun} ({names}): {target} holds one"),
        (false, true) => format!("{number} of {count} {noun} did not come out"),
        (false, false) => format!("{number} of {count} {noun} did not come out: {names}"),
    })
}

/// Most names in a clause.
const MAX_NAMES: usize = 20;

/// Refuses a result that lacks the model's geometry or animation.
///
/// # Errors
/// `geometry_lost`, `no_animation` for a target that holds only animation, `empty_model` if the model is empty.
pub fn check(input: &Contents, output: &Contents) -> Result<(), ConversionError> {
    let (before, after, target) = (&input.counts, &output.counts, output.format);
    if before.objects == 0 && before.bones == 0 {
        return Err(ConversionError::new(ErrorCode::EmptyModel, "the model has no object"));
    }
    let lost = (before.meshes > 0 && after.meshes == 0)
        || (before.triangles > 0 && after.triangles == 0)
        || (before.vertices > 0 && after.vertices == 0);
    if target.holds(Feature::Mesh) && lost {
        let detail = format!(
            "the {target} file came out without the model's geometry ({} vertices, {} triangles went in)",
            before.vertices, before.triangles
        );
        return Err(ConversionError::new(ErrorCode::GeometryLost, detail));
    }
    if target.info().needs.contains(&Feature::Clips) && after.clips.is_empty() {
        return Err(ConversionError::new(ErrorCode::NoAnimation, "the model has no animation"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn contents(format: Format, counts: Counts) -> Contents {
        Contents { format, bytes: 1, files: 1, counts }
    }

    fn figure() -> Counts {
        let clip = |name: &str| Clip { name: name.into(), frames: 31, seconds: 1.0, fps: 30.0 };
        Counts {
            objects: 2,
            meshes: 1,
            vertices: 100,
            triangles: 180,
            uv_layers: 1,
            materials: 2,
            textures: 1,
            bones: 21,
            skins: 1,
            blend_shapes: 2,
            clips: vec![clip("Walk"), clip("Wave")],
            humanoid: true,
            ..Counts::default()
        }
    }

    #[test]
    fn features_the_target_cannot_hold_are_named() {
        let bare = Counts { objects: 1, meshes: 1, vertices: 120, triangles: 180, ..Counts::default() };
        let losses = losses(
            &contents(Format::Vrm, figure()),
            &contents(Format::Stl, bare),
            &Options::default(),
            0,
            &[],
        );
        assert_eq!(
            losses,
            [
                "1 UV layer: stl holds no UVs",
                "2 materials: stl holds no materials",
                "1 texture: stl holds no textures",
                "1 skinned mesh: stl holds no skin",
                "2 blend shapes: stl holds no blend shapes",
                "21 bones: stl holds no skeleton",
                "the humanoid assignment: stl holds none",
                "2 clips: stl holds no animation",
            ]
        );
    }

    #[test]
    fn a_lost_clip_is_named() {
        let mut after = figure();
        after.clips.remove(0);
        let losses = losses(
            &contents(Format::Fbx, figure()),
            &contents(Format::Glb, after),
            &Options::default(),
            0,
            &[],
        );
        assert_eq!(losses, ["1 of 2 clips did not come out: Walk"]);
    }

    #[test]
    fn a_clip_reported_by_the_engine_is_counted_once() {
        let before = Counts { clips: vec![Clip { name: "Animation".into(), ..Clip::default() }], ..figure() };
        let after = Counts { clips: Vec::new(), ..figure() };
        let (input, output) = (contents(Format::Abc, before), contents(Format::Glb, after));
        let lost = |said: &str| losses(&input, &output, &Options::default(), 0, &[said.to_owned()]);
        assert!(lost("1 clip: glb holds no meshes that change with time").is_empty());
        assert_eq!(lost("bone weights of 3 vertices"), ["1 clip did not come out: Animation"]);
    }

    #[test]
    fn textures_reported_by_the_engine_are_counted_once() {
        let (before, after) = (Counts { textures: 4, ..figure() }, Counts { textures: 3, ..figure() });
        let (input, output) = (contents(Format::Fbx, before), contents(Format::Obj, after));
        let counted = |said: &str| {
            let losses = losses(&input, &output, &Options::default(), 0, &[said.to_owned()]);
            losses.iter().any(|clause| clause == "1 of 4 textures did not come out")
        };
        assert!(!counted("1 of 4 textures did not come out: skin.png"));
        assert!(counted("2 of 4 textures did not come out: skin.png, hair.png"));
    }

    #[test]
    fn clips_excluded_by_option_are_not_a_loss() {
        let after = Counts { clips: Vec::new(), ..figure() };
        let options = Options { animation: false, ..Options::default() };
        let losses =
            losses(&contents(Format::Fbx, figure()), &contents(Format::Glb, after), &options, 0, &[]);
        assert!(losses.is_empty(), "{losses:?}");
    }

    fn compared(target: Format, change: impl Fn(&mut Counts), merged: u64) -> Vec<String> {
        let mut before = figure();
        (before.meshes, before.uv_layers, before.textures) = (3, 3, 4);
        let mut after = before.clone();
        change(&mut after);
        losses(&contents(Format::Fbx, before), &contents(target, after), &Options::default(), merged, &[])
    }

    #[test]
    fn joined_meshes_are_not_reported_as_lost() {
        let joined = compared(
            Format::Ply,
            |after| {
                (after.meshes, after.uv_layers) = (1, 1);
            },
            0,
        );
        assert_eq!(joined, ["3 meshes became one: ply holds no more"]);
        let without = compared(Format::Ply, |after| (after.meshes, after.uv_layers) = (1, 0), 0);
        assert_eq!(without[1], "3 UV layers did not come out");
        assert_eq!(compared(Format::Glb, |after| after.meshes = 1, 0), ["2 of 3 meshes did not come out"]);
    }

    #[test]
    fn textures_merged_into_channels_are_not_lost() {
        let fewer = |left: u64| move |after: &mut Counts| after.textures = left;
        assert!(compared(Format::Glb, fewer(3), 1).is_empty());
        assert_eq!(compared(Format::Glb, fewer(2), 1), ["1 of 4 textures did not come out"]);
        assert_eq!(compared(Format::Glb, fewer(0), 1), ["4 textures did not come out"]);
    }

    #[test]
    fn missing_textures_are_not_reported_as_lost() {
        let mut before = figure();
        before.missing_textures = vec!["skin.png".into()];
        let after = Counts { textures: 0, ..figure() };
        let (input, output) = (contents(Format::Fbx, before), contents(Format::Glb, after));
        assert!(losses(&input, &output, &Options::default(), 0, &[]).is_empty());
    }

    #[test]
    fn single_clip_formats_explain_the_lost_clips() {
        let one = |after: &mut Counts| {
            after.clips.pop();
        };
        assert_eq!(compared(Format::Usdz, one, 0), ["1 of 2 clips (Wave): usdz holds one"]);
        assert_eq!(compared(Format::Abc, one, 0), ["1 of 2 clips (Wave): abc holds one"]);
        // Blender reports it with the names, which a bvh lacks.
        assert!(compared(Format::Bvh, one, 0).is_empty());
        assert_eq!(
            compared(Format::Vrma, |after| after.bones = 18, 0),
            ["3 of 21 bones: vrma holds only a human's"]
        );
    }

    #[test]
    fn a_model_without_objects_is_empty() {
        let nothing = contents(Format::Glb, Counts::default());
        let error = check(&nothing, &contents(Format::Gltf, Counts::default())).unwrap_err();
        assert_eq!((error.code, error.detail.as_str()), (ErrorCode::EmptyModel, "the model has no object"));
    }

    #[test]
    fn higher_counts_are_not_a_loss() {
        let mut after = figure();
        after.vertices = 1;
        after.materials = 3;
        let (input, output) = (contents(Format::Fbx, figure()), contents(Format::Glb, after));
        assert!(losses(&input, &output, &Options::default(), 0, &[]).is_empty());
        assert_eq!(check(&input, &output), Ok(()));
    }

    #[test]
    fn a_result_without_geometry_is_a_failure() {
        let after = Counts { triangles: 0, ..figure() };
        let error = check(&contents(Format::Fbx, figure()), &contents(Format::Glb, after)).unwrap_err();
        assert_eq!(error.code, ErrorCode::GeometryLost);
    }

    #[test]
    fn a_motion_without_clips_is_a_failure() {
        let still = Counts { clips: Vec::new(), ..figure() };
        let error = check(&contents(Format::Fbx, still.clone()), &contents(Format::Bvh, still)).unwrap_err();
        assert_eq!(error.code, ErrorCode::NoAnimation);
    }
}
