//! The box around all meshes of a glTF, as it stands when nothing moves.

use std::collections::{HashMap, HashSet};

use super::accessor::{Data, Elements};
use super::document::{Mesh, Node, Primitive};
use super::matrix::Matrix;
use crate::domain::ConversionError;
use crate::domain::report::Bounds;
use crate::inspect::{Extent, malformed};

/// The box around all meshes; exact but for compressed vertices, whose own boxes are used.
///
/// # Errors
/// `import_failed` when vertices are not where the file says, or nodes are their own ancestors.
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
        let of_skin = skin.map_or(0, |skin| {
            skin.inverse_bind_matrices
                .map_or(0, |index| data.cost(index))
                .saturating_add(skin.joints.len() as u64)
        });
        let costs = if skin.is_some() { &skinned } else { &rigid };
        let cost = costs.get(index).copied().unwrap_or(0).saturating_add(of_skin);
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

/// Attributes that are read: the first of all meshes, the others of those that follow joints.
const READ: [&str; 9] = [
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

/// How vertices of a mesh come into the world.
enum Pose {
    Rigid(Matrix),
    /// By the joints; the node's own matrix for a vertex that follows none.
    Skinned(Vec<Matrix>, Matrix),
}

fn mesh<'a>(data: &'a Data, index: usize) -> Result<&'a Mesh, ConversionError> {
    data.document.meshes.get(index).ok_or_else(|| malformed(format!("the file has no mesh {index}")))
}

/// What it takes to look at a mesh, in elements.
fn cost(data: &Data, mesh: &Mesh, skinned: bool) -> u64 {
    let read = if skinned { READ.as_slice() } else { &READ[..1] };
    let of = |primitive: &Primitive| {
        let accessors = read.iter().filter_map(|name| primitive.attributes.get(name));
        accessors.map(|index| data.cost(index)).fold(1, u64::saturating_add)
    };
    mesh.primitives.iter().map(of).fold(0, u64::saturating_add)
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
    // Every node has one parent at most, so walking down from the roots meets each once, and never one in a ring.
    let mut worlds: Vec<Option<Matrix>> = vec![None; nodes.len()];
    let mut open: Vec<(usize, Matrix)> = Vec::new();
    open.extend(
        (0..nodes.len()).filter(|index| parents[*index].is_none()).map(|root| (root, Matrix::IDENTITY)),
    );
    while let Some((index, parent)) = open.pop() {
        let Some(node) = nodes.get(index) else { continue };
        let world = parent.times(&Matrix::of(node));
        if let Some(place) = worlds.get_mut(index) {
            *place = Some(world);
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

/// The pose of a skinned mesh whose node stands at `world`.
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
    // In the pose in which it was bound, every joint moves a vertex alike: no weights are needed.
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
                if !add_skinned(data, primitive, joints, own, extent)? {
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

/// Adds the vertices of a primitive as its joints place them; `false` where they or their weights are compressed.
fn add_skinned(
    data: &Data,
    primitive: &Primitive,
    joints: &[Matrix],
    own: &Matrix,
    extent: &mut Extent,
) -> Result<bool, ConversionError> {
    let open = |name: &str| -> Result<Option<Elements>, ConversionError> {
        let Some(index) = primitive.attributes.get(name) else { return Ok(None) };
        Ok(data.elements(index)?.filter(Elements::has_bytes))
    };
    if primitive.extensions.draco.is_some() {
        return Ok(false);
    }
    let Some(mut positions) = open("POSITION")? else { return Ok(false) };
    let mut sets = Vec::new();
    for set in 0..4 {
        let (joints, weights) = (format!("JOINTS_{set}"), format!("WEIGHTS_{set}"));
        if primitive.attributes.get(&joints).is_none() {
            break;
        }
        let Some(pair) = open(&joints)?.zip(open(&weights)?) else { return Ok(false) };
        sets.push(pair);
    }
    while let Some(position) = positions.next()? {
        let mut blend = Matrix::ZERO;
        let mut total = 0.0;
        for (indices, weights) in &mut sets {
            let (Some(indices), Some(weights)) = (indices.next()?, weights.next()?) else { continue };
            for (index, weight) in indices.iter().zip(weights).take(4) {
                if weight > 0.0
                    && let Some(joint) = joints.get(*index as usize)
                {
                    blend.add(joint, weight);
                    total += weight;
                }
            }
        }
        let position = [position[0], position[1], position[2]];
        let moved =
            if total > 0.0 { blend.apply(position).map(|value| value / total) } else { own.apply(position) };
        extent.add(moved);
    }
    Ok(true)
}

/// Adds the corners of the box that the file gives for a primitive's vertices.
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
    let scale = accessor.normalized_scale();
    corners(Bounds { min, max })
        .for_each(|corner| extent.add(matrix.apply(corner.map(|value| value * scale))));
    Ok(())
}

fn corners(of: Bounds) -> impl Iterator<Item = [f64; 3]> {
    (0..8).map(move |choice| {
        std::array::from_fn(|axis| if choice >> axis & 1 == 0 { of.min[axis] } else { of.max[axis] })
    })
}

/// The box of a whole mesh in its own space.
fn own_box(data: &Data, mesh: &Mesh) -> Result<Option<Bounds>, ConversionError> {
    let mut extent = Extent::default();
    for primitive in &mesh.primitives {
        add_corners(data, primitive, &Matrix::IDENTITY, &mut extent)?;
    }
    Ok(extent.0)
}
