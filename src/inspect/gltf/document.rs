//! The members of a glTF that are counted. Indices are not checked here: code that follows one must check it.
//!
//! The schema is our own because the `gltf` crate trusts indices and holds all members.

use serde::de::{Error, IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::value::RawValue;

use crate::domain::ConversionError;
use crate::formats::gltf::json_text::Members;
use crate::formats::gltf::{bounded_list, malformed};

#[derive(Debug, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Document<'a> {
    pub accessors: Vec<Accessor>,
    #[serde(deserialize_with = "bounded_list")]
    pub animations: Vec<Animation>,
    pub buffer_views: Vec<BufferView>,
    #[serde(borrow)]
    pub images: Vec<Image<'a>>,
    pub materials: Vec<IgnoredAny>,
    #[serde(deserialize_with = "bounded_list")]
    pub meshes: Vec<Mesh>,
    #[serde(deserialize_with = "bounded_list")]
    pub nodes: Vec<Node>,
    #[serde(deserialize_with = "bounded_list")]
    pub skins: Vec<Skin>,
    #[serde(deserialize_with = "bounded_list")]
    pub textures: Vec<Texture<'a>>,
    #[serde(borrow)]
    pub extensions: RootExtensions<'a>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct RootExtensions<'a> {
    #[serde(rename = "VRM", borrow)]
    pub vrm0: Option<Avatar<'a>>,
    #[serde(rename = "VRMC_vrm", borrow)]
    pub vrm1: Option<Avatar<'a>>,
    #[serde(rename = "VRMC_vrm_animation", borrow)]
    pub vrma: Option<Avatar<'a>>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Avatar<'a> {
    #[serde(borrow)]
    pub humanoid: Humanoid<'a>,
}

/// The human bones are kept as text, which takes no more memory than in the file.
#[derive(Debug, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Humanoid<'a> {
    #[serde(borrow)]
    pub human_bones: Option<&'a RawValue>,
}

/// Most human bones that are read; a humanoid has 55 at most.
const MAX_HUMAN_BONES: usize = 1000;

impl Humanoid<'_> {
    /// The nodes that are human bones. VRM 0 has a list of objects with a `node`, later versions have a map of them.
    /// Ignores values of other types: the rest counts despite an avatar's mistakes.
    pub fn nodes(&self) -> Vec<usize> {
        #[derive(Deserialize)]
        struct Bone {
            node: usize,
        }
        let text = self.human_bones.map_or("[]", RawValue::get);
        let bones: Vec<&RawValue> = match serde_json::from_str::<Members>(text) {
            Ok(map) => map.0.into_iter().map(|(_, bone)| bone).collect(),
            Err(_) => serde_json::from_str(text).unwrap_or_default(),
        };
        let node = |bone: &RawValue| serde_json::from_str::<Bone>(bone.get()).ok().map(|bone| bone.node);
        bones.into_iter().filter_map(node).take(MAX_HUMAN_BONES).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accessor {
    pub buffer_view: Option<usize>,
    #[serde(default)]
    pub byte_offset: u64,
    pub component_type: u64,
    #[serde(default)]
    pub normalized: bool,
    pub count: u64,
    #[serde(rename = "type")]
    pub element_type: String,
    pub min: Option<Vec<Option<f64>>>,
    pub max: Option<Vec<Option<f64>>>,
    pub sparse: Option<Box<Sparse>>,
}

#[derive(Debug, Deserialize)]
pub struct Sparse {
    pub count: u64,
    pub indices: SparsePart,
    pub values: SparsePart,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SparsePart {
    pub buffer_view: usize,
    #[serde(default)]
    pub byte_offset: u64,
    /// Present only in the indices.
    pub component_type: Option<u64>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BufferView {
    pub buffer: usize,
    #[serde(default)]
    pub byte_offset: u64,
    pub byte_length: u64,
    pub byte_stride: Option<u64>,
    #[serde(default)]
    pub extensions: Extensions,
}

/// The extensions of views, primitives and nodes.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Extensions {
    /// Of a compressed view, which has no readable bytes.
    #[serde(rename = "EXT_meshopt_compression", alias = "KHR_meshopt_compression")]
    pub meshopt: Option<IgnoredAny>,
    /// Of a compressed primitive, whose accessors have no bytes.
    #[serde(rename = "KHR_draco_mesh_compression")]
    pub draco: Option<IgnoredAny>,
    #[serde(rename = "KHR_lights_punctual")]
    pub light: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Image<'a> {
    #[serde(borrow)]
    pub uri: Option<&'a RawValue>,
    /// Its bytes, if they are in a buffer.
    #[serde(rename = "bufferView")]
    pub buffer_view: Option<usize>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Texture<'a> {
    pub source: Option<usize>,
    /// `KHR_texture_basisu`, `EXT_texture_webp` and others, each with its own source; kept as text.
    #[serde(borrow)]
    pub extensions: Option<&'a RawValue>,
}

impl Texture<'_> {
    /// The images that it may show, one for each extension.
    pub fn images(&self) -> impl Iterator<Item = usize> {
        #[derive(Deserialize)]
        struct Extension {
            source: usize,
        }
        let members = self.extensions.and_then(|extensions| Members::parse(extensions.get()).ok());
        let members = members.into_iter().flat_map(|members| members.0);
        let others = members.filter_map(|(_, value)| serde_json::from_str::<Extension>(value.get()).ok());
        self.source.into_iter().chain(others.map(|extension| extension.source))
    }
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Mesh {
    pub primitives: Vec<Primitive>,
}

#[derive(Debug, Deserialize)]
pub struct Primitive {
    pub attributes: Attributes,
    pub indices: Option<usize>,
    pub mode: Option<u32>,
    #[serde(default)]
    pub targets: Vec<IgnoredAny>,
    #[serde(default)]
    pub extensions: Extensions,
}

impl Primitive {
    /// Number of attributes whose names begin with `prefix`.
    pub fn layers(&self, prefix: &str) -> u64 {
        self.attributes.0.iter().filter(|(name, _)| name.starts_with(prefix)).count() as u64
    }
}

/// The accessors of a primitive's attributes by name. They are few: a list is smaller and faster than a map.
#[derive(Debug, Default)]
pub struct Attributes(pub Vec<(Box<str>, usize)>);

/// Most attributes of a primitive; real models have a dozen.
const MAX_ATTRIBUTES: usize = 100;

impl Attributes {
    pub fn get(&self, name: &str) -> Option<usize> {
        self.0.iter().find(|(own, _)| **own == *name).map(|(_, accessor)| *accessor)
    }
}

/// Returns the item with an `index` that stands in the file.
///
/// # Errors
/// `import_failed` when there is none.
pub fn indexed<'a, T>(list: &'a [T], noun: &str, index: usize) -> Result<&'a T, ConversionError> {
    list.get(index).ok_or_else(|| malformed(format!("the file has no {noun} {index}")))
}

impl<'de> Deserialize<'de> for Attributes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Pairs;
        impl<'de> Visitor<'de> for Pairs {
            type Value = Attributes;

            fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
                f.write_str("the attributes of a primitive")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Attributes, A::Error> {
                let mut pairs: Vec<(Box<str>, usize)> = Vec::new();
                while let Some((name, accessor)) = map.next_entry()? {
                    // The last of two equal names counts.
                    pairs.retain(|(own, _)| *own != name);
                    if pairs.len() == MAX_ATTRIBUTES {
                        return Err(Error::custom(format!("more than {MAX_ATTRIBUTES} attributes")));
                    }
                    pairs.push((name, accessor));
                }
                Ok(Attributes(pairs))
            }
        }
        deserializer.deserialize_map(Pairs)
    }
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Node {
    pub children: Vec<usize>,
    // Boxed because many nodes have none of these.
    pub matrix: Option<Box<[f64; 16]>>,
    pub translation: Option<Box<[f64; 3]>>,
    pub rotation: Option<Box<[f64; 4]>>,
    pub scale: Option<Box<[f64; 3]>>,
    pub mesh: Option<usize>,
    pub skin: Option<usize>,
    pub camera: Option<usize>,
    pub extensions: Extensions,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Skin {
    pub joints: Vec<usize>,
    pub inverse_bind_matrices: Option<usize>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Animation {
    pub name: Option<String>,
    pub samplers: Vec<Sampler>,
}

#[derive(Debug, Deserialize)]
pub struct Sampler {
    pub input: usize,
    pub output: usize,
}
