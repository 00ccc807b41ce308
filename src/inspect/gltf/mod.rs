//! Counts the contents of a glTF: gltf, glb, vrm or vrma.
//!
//! - `objects` are the nodes that are not bones. `meshes` are the nodes with a mesh; `vertices` and `triangles` count
//!   for each of them. Vertices that several primitives of a mesh share count once.
//! - `uv_layers`, `vertex_colours` and `blend_shapes` are sums over the meshes, however often a mesh is used.
//! - `bones` are the joints of skins and the human bones; `textures` are the images that textures show.
//! - The channel with the most keys defines the frames per second of a clip.

mod accessor;
mod bounds;
mod document;
mod matrix;

use std::collections::{HashMap, HashSet};

use indexmap::IndexSet;

use accessor::Data;
use document::{Animation, Document, Mesh, Primitive, RootExtensions, Texture, indexed};

use super::frame_rate::tidy_fps;
use crate::domain::report::{Clip, Counts};
use crate::domain::{Cancel, ConversionError, error};
use crate::formats::gltf::asset::{Asset, Reference};
use crate::formats::gltf::json_text::Members;
use crate::formats::gltf::malformed;

/// Counts the contents of an open glTF.
///
/// # Errors
/// `import_failed`, `missing_files`, `cancelled`, `io`.
pub fn inspect_source(source: &Asset) -> Result<Counts, ConversionError> {
    let root = Members::parse(source.json.text())?;
    let document: Document = serde_json::from_str(source.json.text())
        .map_err(|error| malformed(format!("the file's JSON is wrong: {}", error::of_json(&error))))?;
    let buffers = root
        .objects("buffers")?
        .iter()
        .enumerate()
        .map(|(index, buffer)| source.buffer(index, buffer))
        .collect::<Result<_, _>>()?;
    drop(root);
    let data = Data { document: &document, buffers, cancel: source.cancel.clone() };
    data.check()?;

    let mut counts = Counts { materials: document.materials.len() as u64, ..Counts::default() };
    count_meshes(&data, &mut counts)?;
    count_nodes(&data, &mut counts)?;
    (counts.textures, counts.missing_textures) = textures(source, &document)?;
    let mut keys = KeyReader { budget: data.budget(), times: HashMap::new() };
    for (index, animation) in document.animations.iter().enumerate() {
        source.cancel.check()?;
        counts.clips.push(clip(&data, index, animation, &mut keys)?);
    }
    counts.bounds_m = bounds::bounds(&data)?;
    Ok(counts)
}

/// What the JSON of a glTF announces, without a look at its buffers.
pub struct Announced {
    /// In all copies of a mesh together, or in each mesh once.
    pub triangles: u64,
    /// Frames of all channels together.
    pub frames: u64,
    /// Position and length of the images in the first buffer, in bytes.
    pub images: Vec<(u64, u64)>,
}

/// Reads what the JSON `text` of a glTF announces; `copies` counts the triangles of each copy of a mesh.
///
/// # Errors
/// `import_failed`
pub fn announced(text: &str, copies: bool) -> Result<Announced, ConversionError> {
    let document: Document = serde_json::from_str(text)
        .map_err(|error| malformed(format!("the file's JSON is wrong: {}", error::of_json(&error))))?;
    let data = Data { document: &document, buffers: Vec::new(), cancel: Cancel::default() };
    let sizes = document.meshes.iter().map(|mesh| size(&data, mesh)).collect::<Result<Vec<_>, _>>()?;
    let of_mesh = |mesh: usize| sizes.get(mesh).map_or(0, |(_, triangles)| *triangles);
    let triangles = if copies {
        sum(document.nodes.iter().filter_map(|node| node.mesh).map(of_mesh))
    } else {
        sum((0..sizes.len()).map(of_mesh))
    };
    let samplers = document.animations.iter().flat_map(|animation| &animation.samplers);
    let frames = sum(samplers.filter_map(|sampler| Some(document.accessors.get(sampler.input)?.count)));
    let views = document.images.iter().filter_map(|image| document.buffer_views.get(image.buffer_view?));
    let images =
        views.filter(|view| view.buffer == 0).map(|view| (view.byte_offset, view.byte_length)).collect();
    Ok(Announced { triangles, frames, images })
}

fn sum(counts: impl Iterator<Item = u64>) -> u64 {
    counts.fold(0, u64::saturating_add)
}

fn count_meshes(data: &Data, counts: &mut Counts) -> Result<(), ConversionError> {
    let mut sizes = Vec::new();
    for mesh in &data.document.meshes {
        data.cancel.check()?;
        sizes.push(size(data, mesh)?);
        let most = |count: &dyn Fn(&Primitive) -> u64| mesh.primitives.iter().map(count).max().unwrap_or(0);
        counts.uv_layers += most(&|primitive| primitive.layers("TEXCOORD_"));
        counts.vertex_colours += most(&|primitive| primitive.layers("COLOR_"));
        counts.blend_shapes += most(&|primitive| primitive.targets.len() as u64);
    }
    for mesh in data.document.nodes.iter().filter_map(|node| node.mesh) {
        let (vertices, triangles) = indexed(&sizes, "mesh", mesh)?;
        counts.meshes += 1;
        counts.vertices = counts.vertices.saturating_add(*vertices);
        counts.triangles = counts.triangles.saturating_add(*triangles);
    }
    Ok(())
}

/// Returns the number of vertices and of triangles in a mesh.
fn size(data: &Data, mesh: &Mesh) -> Result<(u64, u64), ConversionError> {
    let (mut vertices, mut triangles) = (0_u64, 0_u64);
    let mut seen = HashSet::new();
    for primitive in &mesh.primitives {
        for (_, index) in &primitive.attributes.0 {
            data.accessor(*index)?;
        }
        let Some(position) = primitive.attributes.get("POSITION") else { continue };
        let positions = data.accessor(position)?.count;
        if seen.insert(position) {
            vertices = vertices.saturating_add(positions);
        }
        let corners = match primitive.indices {
            Some(indices) => data.accessor(indices)?.count,
            None => positions,
        };
        triangles = triangles.saturating_add(match primitive.mode.unwrap_or(4) {
            4 => corners / 3,
            5 | 6 => corners.saturating_sub(2),
            _ => 0,
        });
    }
    Ok((vertices, triangles))
}

fn count_nodes(data: &Data, counts: &mut Counts) -> Result<(), ConversionError> {
    let document = data.document;
    let RootExtensions { vrm0, vrm1, vrma } = &document.extensions;
    let avatars = [vrm0, vrm1, vrma].into_iter().flatten();
    let human: Vec<usize> = avatars.flat_map(|avatar| avatar.humanoid.nodes()).collect();
    counts.humanoid = !human.is_empty();
    let mut bones: HashSet<usize> = document.skins.iter().flat_map(|skin| &skin.joints).copied().collect();
    if let Some(bone) = bones.iter().find(|bone| **bone >= document.nodes.len()) {
        return Err(malformed(format!("the file has no node {bone}")));
    }
    // A human bone without a node is a mistake of the avatar; the rest counts all the same.
    bones.extend(human.into_iter().filter(|bone| *bone < document.nodes.len()));
    counts.bones = bones.len() as u64;
    counts.objects = (document.nodes.len() - bones.len()) as u64;
    for node in &document.nodes {
        counts.skins += u64::from(node.skin.is_some() && node.mesh.is_some());
        counts.cameras += u64::from(node.camera.is_some());
        counts.lights += u64::from(node.extensions.light.is_some());
    }
    Ok(())
}

/// Returns the number of images that textures show, and the names of missing images.
fn textures(source: &Asset, document: &Document) -> Result<(u64, Vec<String>), ConversionError> {
    let used: HashSet<usize> = document.textures.iter().flat_map(Texture::images).collect();
    let mut missing = IndexSet::new();
    for image in &document.images {
        source.cancel.check()?;
        if let Some(uri) = image.uri
            && let Reference::Missing(name) = source.resolve(uri)?
        {
            missing.insert(name);
        }
    }
    let shown = used.into_iter().filter(|index| *index < document.images.len()).count();
    Ok((shown as u64, missing.into_iter().collect()))
}

/// Highest rate of frames: closer keys are noise.
const MAX_FPS: f64 = 100_000.0;

/// Keys of a channel: their number, and the first and last in seconds.
#[derive(Debug, Clone, Copy)]
struct Times {
    count: u64,
    first: f64,
    last: f64,
}

/// Reads accessors of keys, each once.
struct KeyReader {
    /// Number of keys that may still be read: accessors may overlap.
    budget: u64,
    /// By accessor.
    times: HashMap<usize, Times>,
}

fn clip(
    data: &Data,
    index: usize,
    animation: &Animation,
    keys: &mut KeyReader,
) -> Result<Clip, ConversionError> {
    let name = animation.name.clone().unwrap_or_else(|| format!("animation {index}"));
    let (mut first, mut last) = (f64::INFINITY, f64::NEG_INFINITY);
    let mut densest: Option<Times> = None;
    for sampler in &animation.samplers {
        data.cancel.check()?;
        data.accessor(sampler.output)?;
        let times = match keys.times.get(&sampler.input) {
            Some(times) => *times,
            None => *keys.times.entry(sampler.input).or_insert(times(data, sampler.input, &mut keys.budget)?),
        };
        if times.count == 0 || !times.first.is_finite() || !times.last.is_finite() {
            continue;
        }
        first = first.min(times.first);
        last = last.max(times.last);
        if densest.is_none_or(|densest| times.count > densest.count) {
            densest = Some(times);
        }
    }
    let Some(densest) = densest else { return Ok(Clip { name, ..Clip::default() }) };
    let seconds = ((last - first).max(0.0) * 1e6).round() / 1e6;
    let span = densest.last - densest.first;
    if span <= 0.0 || densest.count < 2 {
        return Ok(Clip { name, frames: densest.count.min(1), seconds, fps: 0.0 });
    }
    let fps = tidy_fps((densest.count - 1) as f64 / span);
    if fps > MAX_FPS {
        return Ok(Clip { name, frames: densest.count, seconds, fps: 0.0 });
    }
    let frames = ((seconds * fps).round() as u64).saturating_add(1).max(densest.count);
    Ok(Clip { name, frames, seconds, fps })
}

/// Finds the keys of an accessor: from its `min` and `max`, else by reading it as long as the budget lasts.
fn times(data: &Data, index: usize, budget: &mut u64) -> Result<Times, ConversionError> {
    let accessor = data.accessor(index)?;
    let first_of = |list: &Option<Vec<Option<f64>>>| list.as_ref().and_then(|list| *list.first()?);
    if let Some((first, last)) = first_of(&accessor.min).zip(first_of(&accessor.max)) {
        return Ok(Times { count: accessor.count, first, last });
    }
    let mut times = Times { count: accessor.count, first: f64::INFINITY, last: f64::NEG_INFINITY };
    let Some(left) = budget.checked_sub(data.cost(index)) else { return Ok(times) };
    *budget = left;
    let Some(mut elements) = data.elements(index)? else { return Ok(times) };
    while let Some([time, ..]) = elements.next()? {
        times.first = times.first.min(time);
        times.last = times.last.max(time);
        elements.skip_zeros();
    }
    Ok(times)
}
