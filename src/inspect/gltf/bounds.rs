//! The bounding box of all meshes of a glTF in its rest pose.

use std::collections::{HashMap, HashSet};

use super::accessor::{Data, Elements, layout};
use super::document::{Mesh, Node, Primitive, indexed};
use super::matrix::Matrix;
use crate::domain::ConversionError;
use crate::domain::report::Bounds;
use crate::formats::gltf::malformed;
use crate::inspect::extent::Extent;

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
    let meshes = &data.document.meshes;
    let costs = |skinned| -> Vec<u64> { meshes.iter().map(|mesh| cost(data, mesh, skinned)).collect() };
    let (rigid, skinned) = (costs(false), costs(true));
    let mut budget = data.budget();
    let mut boxes: HashMap<usize, Option<Bounds>> = HashMap::new();
    let mut extent = Extent::default();
    for (node, world) in nodes.iter().zip(&worlds) {
        data.cancel.check()?;
        let Some(index) = node.mesh else { continue };
        let mesh = indexed(meshes, "mesh", index)?;
        let skin = node.skin.and_then(|skin| data.document.skins.get(skin));
        let skin_cost = skin.map_or(0, |skin| {
            let inverse_binds = skin.inverse_bind_matrices.map_or(0, |index| data.cost(index));
            inverse_binds.saturating_add(skin.joints.len() as u64)
        });
        let costs = if skin.is_some() { &skinned } else { &rigid };
        let cost = indexed(costs, "mesh", index)?.saturating_add(skin_cost);
        if cost > budget {
            let own = match boxes.get(&index) {
                Some(own) => *own,
                None => *boxes.entry(index).or_insert(own_box(data, mesh)?),
            };
            own.into_iter().flat_map(corners).for_each(|corner| extent.add(world.apply(corner)));
            continue;
        }
        budget -= cost;
        add_mesh(data, mesh, &pose(data, node, world, &worlds)?, &mut extent)?;
    }
    Ok(extent.0)
}

/// Attributes with joints of a vertex and their weights, four to a set.
const SKIN_SETS: [[&str; 2]; 4] = [
    ["JOINTS_0", "WEIGHTS_0"],
    ["JOINTS_1", "WEIGHTS_1"],
    ["JOINTS_2", "WEIGHTS_2"],
    ["JOINTS_3", "WEIGHTS_3"],
];

/// How the vertices of a mesh are transformed to world space.
enum Pose {
    Rigid(Matrix),
    /// By matrices of joints; the node's own matrix moves a vertex without joints.
    Skinned(Vec<Matrix>, Matrix),
}

/// Cost of reading a mesh, in elements.
fn cost(data: &Data, mesh: &Mesh, skinned: bool) -> u64 {
    let skin_sets = if skinned { SKIN_SETS.as_flattened() } else { &[] };
    let primitive_cost = |primitive: &Primitive| {
        let names = ["POSITION"].iter().chain(skin_sets);
        let accessors = names.filter_map(|name| primitive.attributes.get(name));
        accessors.map(|index| data.cost(index)).fold(1, u64::saturating_add)
    };
    mesh.primitives.iter().map(primitive_cost).fold(0, u64::saturating_add)
}

/// The world matrix of every node.
fn worlds(nodes: &[Node]) -> Result<Vec<Matrix>, ConversionError> {
    let mut is_child = vec![false; nodes.len()];
    for &child in nodes.iter().flat_map(|node| &node.children) {
        indexed(nodes, "node", child)?;
        if std::mem::replace(&mut is_child[child], true) {
            return Err(malformed(format!("node {child} of the file has two parents")));
        }
    }
    // Every node has at most one parent, so a walk from the roots visits each node once and no node of a cycle.
    let mut worlds: Vec<Option<Matrix>> = vec![None; nodes.len()];
    let roots = (0..nodes.len()).filter(|index| !is_child[*index]);
    let mut pending: Vec<(usize, Matrix)> = roots.map(|root| (root, Matrix::IDENTITY)).collect();
    while let Some((index, parent)) = pending.pop() {
        // A root or a child: both are nodes.
        let node = &nodes[index];
        let world = parent.times(&Matrix::local(node));
        worlds[index] = Some(world);
        pending.extend(node.children.iter().map(|child| (*child, world)));
    }
    let cyclic = |index| malformed(format!("node {index} of the file is its own ancestor"));
    worlds.into_iter().enumerate().map(|(index, world)| world.ok_or_else(|| cyclic(index))).collect()
}

/// The pose of the mesh of `node`, whose world matrix is `world`.
fn pose(data: &Data, node: &Node, world: &Matrix, worlds: &[Matrix]) -> Result<Pose, ConversionError> {
    let Some(skin) = node.skin else { return Ok(Pose::Rigid(*world)) };
    let skin = indexed(&data.document.skins, "skin", skin)?;
    let mut inverse_binds =
        skin.inverse_bind_matrices.map(|index| data.elements(index)).transpose()?.flatten();
    let mut joints = Vec::new();
    for &joint in &skin.joints {
        let joint = indexed(worlds, "node", joint)?;
        let inverse_bind = inverse_binds.as_mut().map(Elements::next).transpose()?.flatten();
        joints.push(joint.times(&inverse_bind.map_or(Matrix::IDENTITY, Matrix)));
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
                    vertices.add_to(extent, joints, own)?;
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

/// Reads the vertices of a skinned primitive one after the other.
struct SkinnedVertices {
    positions: Elements,
    /// Four joints and their weights for each vertex, in up to four sets.
    sets: Vec<(Elements, Elements)>,
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
        for [joints, weights] in SKIN_SETS {
            if primitive.attributes.get(joints).is_none() {
                break;
            }
            let Some(set) = open(joints)?.zip(open(weights)?) else { return Ok(None) };
            sets.push(set);
        }
        Ok(Some(SkinnedVertices { positions, sets }))
    }

    /// Adds the vertices as `joints` move them; a vertex that follows no joint is moved by `own`.
    fn add_to(mut self, extent: &mut Extent, joints: &[Matrix], own: &Matrix) -> Result<(), ConversionError> {
        while let Some([x, y, z, ..]) = self.positions.next()? {
            let mut blend = Matrix::ZERO;
            let mut total = 0.0;
            for (indices, weights) in &mut self.sets {
                let (Some(indices), Some(weights)) = (indices.next()?, weights.next()?) else { continue };
                let influences = indices.into_iter().zip(weights).take(4);
                for (index, weight) in influences.filter(|(_, weight)| *weight > 0.0) {
                    let Some(joint) = joints.get(index as usize) else { continue };
                    blend.add(joint, weight);
                    total += weight;
                }
            }
            extent.add(if total > 0.0 {
                blend.apply([x, y, z]).map(|value| value / total)
            } else {
                own.apply([x, y, z])
            });
        }
        Ok(())
    }
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
    let corner = |list: &Option<Vec<Option<f64>>>| match list.as_deref() {
        Some([Some(x), Some(y), Some(z), ..]) => Some([*x, *y, *z]),
        _ => None,
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
