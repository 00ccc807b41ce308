//! The bounding box of all meshes of a glTF in its rest pose.

use std::collections::{HashMap, HashSet};

use super::accessor::{Data, Elements, layout};
use super::document::{Mesh, Node, Primitive};
use super::matrix::Matrix;
use crate::domain::ConversionError;
use crate::domain::report::Bounds;
use crate::inspect::{Extent, malformed};

/// The bounding box of all meshes. It is exact except for compressed vertices, whose `min` and `max` are used.
///
/// # Errors
/// `import_failed` when vertices lie outside their buffers, or a node is its own ancestor.
pub fn bounds(data: &Data) -> Result<Option<Bounds>, ConversionError> {
    let nodes = &data.document.nodes;
    if nodes.iter().all(|node| node.mesh.is_none()) {
        return Ok(None);
    }
    let worlds = worlds(nodes)?;
    let costs = |skinned: bool| -> Vec<u64> {
        data.document.meshes.iter().map(|mesh| cost(data, mesh, skinned)).collect()
    };
    let (rigid, skinned) = (costs(false), costs(true));
    let mut budget = data.budget();
    let mut boxes: HashMap<usize, Option<Bounds>> = HashMap::new();
    let mut extent = Extent::default();
    for (node, world) in nodes.iter().zip(&worlds) {
        data.cancel.check()?;
        let Some(index) = node.mesh else { continue };
        let mesh = mesh(data, index)?;
        let skin = node.skin.and_then(|skin| data.document.skins.get(skin));
        let skin_cost = skin.map_or(0, |skin| {
            skin.inverse_bind_matrices
                .map_or(0, |index| data.cost(index))
                .saturating_add(skin.joints.len() as u64)
        });
        let costs = if skin.is_some() { &skinned } else { &rigid };
        let cost = costs.get(index).copied().unwrap_or(0).saturating_add(skin_cost);
        if cost > budget {
            let own = match boxes.get(&index) {
                Some(own) => *own,
                None => *boxes.entry(index).or_insert(own_box(data, mesh)?),
            };
            if let Some(own) = own {
                corners(own).for_each(|corner| extent.add(world.apply(corner)));
            }
            continue;
        }
        budget -= cost;
        match node.skin {
            None => add_mesh(data, mesh, &Pose::Rigid(*world), &mut extent)?,
            Some(skin) => add_mesh(data, mesh, &pose(data, skin, world, &worlds)?, &mut extent)?,
        }
    }
    Ok(extent.0)
}

/// Attributes that are read: of rigid meshes only the first.
const ATTRIBUTES: [&str; 9] = [
    "POSITION",
    "JOINTS_0",
    "WEIGHTS_0",
    "JOINTS_1",
    "WEIGHTS_1",
    "JOINTS_2",
    "WEIGHTS_2",
    "JOINTS_3",
    "WEIGHTS_3",
];

/// How the vertices of a mesh are transformed to world space.
enum Pose {
    Rigid(Matrix),
    /// By matrices of joints; the node's own matrix moves a vertex without joints.
    Skinned(Vec<Matrix>, Matrix),
}

fn mesh<'a>(data: &'a Data, index: usize) -> Result<&'a Mesh, ConversionError> {
    data.document.meshes.get(index).ok_or_else(|| malformed(format!("the file has no mesh {index}")))
}

/// Cost of reading a mesh, in elements.
fn cost(data: &Data, mesh: &Mesh, skinned: bool) -> u64 {
    let attributes = if skinned { ATTRIBUTES.as_slice() } else { &ATTRIBUTES[..1] };
    let primitive_cost = |primitive: &Primitive| {
        let accessors = attributes.iter().filter_map(|name| primitive.attributes.get(name));
        accessors.map(|index| data.cost(index)).fold(1, u64::saturating_add)
    };
    mesh.primitives.iter().map(primitive_cost).fold(0, u64::saturating_add)
}

/// The world matrix of every node.
fn worlds(nodes: &[Node]) -> Result<Vec<Matrix>, ConversionError> {
    let mut parents: Vec<Option<usize>> = vec![None; nodes.len()];
    for (index, node) in nodes.iter().enumerate() {
        for &child in &node.children {
            let parent =
                parents.get_mut(child).ok_or_else(|| malformed(format!("the file has no node {child}")))?;
            if parent.replace(index).is_some() {
                return Err(malformed(format!("node {child} of the file has two parents")));
            }
        }
    }
    // Every node has at most one parent, so a walk from the roots visits each node once and no node of a cycle.
    let mut worlds: Vec<Option<Matrix>> = vec![None; nodes.len()];
    let mut open: Vec<(usize, Matrix)> = Vec::new();
    open.extend(
        (0..nodes.len()).filter(|index| parents[*index].is_none()).map(|root| (root, Matrix::IDENTITY)),
    );
    while let Some((index, parent)) = open.pop() {
        let Some(node) = nodes.get(index) else { continue };
        let world = parent.times(&Matrix::local(node));
        if let Some(slot) = worlds.get_mut(index) {
            *slot = Some(world);
        }
        open.extend(node.children.iter().map(|child| (*child, world)));
    }
    worlds
        .into_iter()
        .enumerate()
        .map(|(index, world)| {
            world.ok_or_else(|| malformed(format!("node {index} of the file is its own ancestor")))
        })
        .collect()
}

/// The pose of a skinned mesh whose node has the matrix `world`.
fn pose(data: &Data, skin: usize, world: &Matrix, worlds: &[Matrix]) -> Result<Pose, ConversionError> {
    let skin =
        data.document.skins.get(skin).ok_or_else(|| malformed(format!("the file has no skin {skin}")))?;
    let mut inverse_binds =
        skin.inverse_bind_matrices.map(|index| data.elements(index)).transpose()?.flatten();
    let mut joints = Vec::new();
    for &joint in &skin.joints {
        let joint = worlds.get(joint).ok_or_else(|| malformed(format!("the file has no node {joint}")))?;
        let inverse_bind = match &mut inverse_binds {
            Some(elements) => elements.next()?.map_or(Matrix::IDENTITY, Matrix),
            None => Matrix::IDENTITY,
        };
        joints.push(joint.times(&inverse_bind));
    }
    // In the bind pose all joints move a vertex in the same way: weights are not needed.
    Ok(match joints.first() {
        None => Pose::Rigid(*world),
        Some(first) if joints.iter().all(|joint| joint.is_near(first)) => Pose::Rigid(*first),
        Some(_) => Pose::Skinned(joints, *world),
    })
}

fn add_mesh(data: &Data, mesh: &Mesh, pose: &Pose, extent: &mut Extent) -> Result<(), ConversionError> {
    // Primitives often share their vertices.
    let mut seen = HashSet::new();
    for primitive in &mesh.primitives {
        data.cancel.check()?;
        let layers = ["POSITION", "JOINTS_0", "WEIGHTS_0"].map(|name| primitive.attributes.get(name));
        let Some(position) = layers[0].filter(|_| seen.insert(layers)) else { continue };
        match pose {
            Pose::Rigid(matrix) => {
                match data.elements(position)?.filter(|_| primitive.extensions.draco.is_none()) {
                    Some(mut elements) => elements.each_point(|point| extent.add(matrix.apply(point)))?,
                    None => add_corners(data, primitive, matrix, extent)?,
                }
            }
            Pose::Skinned(joints, own) => {
                if let Some(vertices) = SkinnedVertices::open(data, primitive)? {
                    add_skinned(vertices, joints, own, extent)?;
                } else {
                    let mut mean = Matrix::ZERO;
                    for joint in joints {
                        mean.add(joint, 1.0 / joints.len() as f64);
                    }
                    add_corners(data, primitive, &mean, extent)?;
                }
            }
        }
    }
    Ok(())
}

/// A vertex, and the joints that move it with their weights.
struct Vertex<'a> {
    position: [f64; 3],
    influences: &'a [(usize, f64)],
}

/// Reads the vertices of a skinned primitive one after the other.
struct SkinnedVertices {
    positions: Elements,
    /// Four joints and their weights for each vertex, in up to four sets.
    sets: Vec<(Elements, Elements)>,
    /// Joints and weights of the last vertex.
    influences: Vec<(usize, f64)>,
}

impl SkinnedVertices {
    /// `None` where the vertices or their weights are compressed.
    fn open(data: &Data, primitive: &Primitive) -> Result<Option<SkinnedVertices>, ConversionError> {
        let open = |name: &str| -> Result<Option<Elements>, ConversionError> {
            let Some(index) = primitive.attributes.get(name) else { return Ok(None) };
            Ok(data.elements(index)?.filter(Elements::has_bytes))
        };
        if primitive.extensions.draco.is_some() {
            return Ok(None);
        }
        let Some(positions) = open("POSITION")? else { return Ok(None) };
        let mut sets = Vec::new();
        for set in 0..4 {
            let (joints, weights) = (format!("JOINTS_{set}"), format!("WEIGHTS_{set}"));
            if primitive.attributes.get(&joints).is_none() {
                break;
            }
            let Some(pair) = open(&joints)?.zip(open(&weights)?) else { return Ok(None) };
            sets.push(pair);
        }
        Ok(Some(SkinnedVertices { positions, sets, influences: Vec::new() }))
    }

    /// Returns the next vertex, `None` at the end.
    fn next(&mut self) -> Result<Option<Vertex<'_>>, ConversionError> {
        let Some([x, y, z, ..]) = self.positions.next()? else { return Ok(None) };
        self.influences.clear();
        for (joints, weights) in &mut self.sets {
            let (Some(joints), Some(weights)) = (joints.next()?, weights.next()?) else { continue };
            let joints = joints.iter().map(|joint| *joint as usize);
            self.influences.extend(joints.zip(weights).take(4).filter(|(_, weight)| *weight > 0.0));
        }
        Ok(Some(Vertex { position: [x, y, z], influences: &self.influences }))
    }
}

/// Adds vertices as `joints` move them; a vertex that follows no joint is moved by `own`.
fn add_skinned(
    mut vertices: SkinnedVertices,
    joints: &[Matrix],
    own: &Matrix,
    extent: &mut Extent,
) -> Result<(), ConversionError> {
    while let Some(Vertex { position, influences }) = vertices.next()? {
        let mut blend = Matrix::ZERO;
        let mut total = 0.0;
        for (joint, weight) in influences {
            if let Some(joint) = joints.get(*joint) {
                blend.add(joint, *weight);
                total += weight;
            }
        }
        extent.add(if total > 0.0 {
            blend.apply(position).map(|value| value / total)
        } else {
            own.apply(position)
        });
    }
    Ok(())
}

/// Adds the corners of the box from `min` to `max` of a primitive's positions.
fn add_corners(
    data: &Data,
    primitive: &Primitive,
    matrix: &Matrix,
    extent: &mut Extent,
) -> Result<(), ConversionError> {
    let Some(position) = primitive.attributes.get("POSITION") else { return Ok(()) };
    let accessor = data.accessor(position)?;
    let corner = |list: &Option<Vec<Option<f64>>>| -> Option<[f64; 3]> {
        let list = list.as_deref()?;
        Some([(*list.first()?)?, (*list.get(1)?)?, (*list.get(2)?)?])
    };
    let Some((min, max)) = corner(&accessor.min).zip(corner(&accessor.max)) else { return Ok(()) };
    let layout = layout(position, accessor)?;
    corners(Bounds { min, max })
        .for_each(|corner| extent.add(matrix.apply(corner.map(|value| layout.normalize(value)))));
    Ok(())
}

fn corners(bounds: Bounds) -> impl Iterator<Item = [f64; 3]> {
    (0..8).map(move |choice| {
        std::array::from_fn(|axis| if choice >> axis & 1 == 0 { bounds.min[axis] } else { bounds.max[axis] })
    })
}

/// The bounding box of a mesh in its own space.
fn own_box(data: &Data, mesh: &Mesh) -> Result<Option<Bounds>, ConversionError> {
    let mut extent = Extent::default();
    for primitive in &mesh.primitives {
        add_corners(data, primitive, &Matrix::IDENTITY, &mut extent)?;
    }
    Ok(extent.0)
}
