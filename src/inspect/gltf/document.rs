//! The parts of a glTF's JSON that are counted. Indices are plain numbers here: whoever follows one must check it.

use std::collections::HashMap;
use std::marker::PhantomData;

use serde::de::{Error, IgnoredAny, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use serde_json::value::RawValue;

#[derive(Debug, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Document<'a> {
    pub accessors: Vec<Accessor>,
    #[serde(deserialize_with = "limited")]
    pub animations: Vec<Animation>,
    pub buffer_views: Vec<BufferView>,
    #[serde(borrow)]
    pub images: Vec<Image<'a>>,
    pub materials: Vec<IgnoredAny>,
    #[serde(deserialize_with = "limited")]
    pub meshes: Vec<Mesh>,
    #[serde(deserialize_with = "limited")]
    pub nodes: Vec<Node>,
    #[serde(deserialize_with = "limited")]
    pub skins: Vec<Skin>,
    #[serde(deserialize_with = "limited")]
    pub textures: Vec<Texture>,
    pub extensions: RootExtensions,
}

/// `{}` is 2 bytes of text and some hundred of memory: a list of more than this many is made to exhaust it.
const MAX_LIST: usize = 1_000_000;

/// A list of objects that may be empty, of bounded length.
fn limited<'de, D, T>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct Limited<T>(PhantomData<T>);
    impl<'de, T: Deserialize<'de>> Visitor<'de> for Limited<T> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.write_str("a list")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Vec<T>, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = seq.next_element()? {
                if list.len() == MAX_LIST {
                    return Err(Error::custom(format!("a list of more than {MAX_LIST}")));
                }
                list.push(item);
            }
            Ok(list)
        }
    }
    deserializer.deserialize_seq(Limited(PhantomData))
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct RootExtensions {
    #[serde(rename = "VRM")]
    pub vrm0: Option<Avatar>,
    #[serde(rename = "VRMC_vrm")]
    pub vrm1: Option<Avatar>,
    #[serde(rename = "VRMC_vrm_animation")]
    pub vrma: Option<Avatar>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Avatar {
    pub humanoid: Humanoid,
}

/// In VRM 0 a list of objects with a `node`, later a map of them.
#[derive(Debug, Deserialize, Default)]
#[serde(default, rename_all = "camelCase")]
pub struct Humanoid {
    pub human_bones: Value,
}

impl Humanoid {
    /// The nodes that are human bones.
    pub fn nodes(&self) -> Vec<usize> {
        let list = self.human_bones.as_array().into_iter().flatten();
        let map = self.human_bones.as_object().into_iter().flat_map(|map| map.values());
        list.chain(map).filter_map(|bone| usize::try_from(bone.get("node")?.as_u64()?).ok()).collect()
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Accessor {
    pub buffer_view: Option<usize>,
    #[serde(default)]
    pub byte_offset: u64,
    pub component_type: u32,
    #[serde(default)]
    pub normalized: bool,
    pub count: u64,
    #[serde(rename = "type")]
    pub kind: String,
    pub min: Option<Vec<Option<f64>>>,
    pub max: Option<Vec<Option<f64>>>,
    pub sparse: Option<Sparse>,
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
    /// Of the indices only.
    pub component_type: Option<u32>,
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
    pub extensions: ViewExtensions,
}

/// A compressed view has no bytes that could be read.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct ViewExtensions {
    #[serde(rename = "EXT_meshopt_compression", alias = "KHR_meshopt_compression")]
    pub meshopt: Option<IgnoredAny>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Image<'a> {
    #[serde(borrow)]
    pub uri: Option<&'a RawValue>,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Texture {
    pub source: Option<usize>,
    /// `KHR_texture_basisu`, `EXT_texture_webp`, … each with a source of its own.
    pub extensions: HashMap<String, Value>,
}

impl Texture {
    /// The images that it may show.
    pub fn images(&self) -> impl Iterator<Item = usize> {
        let of = |extension: &Value| usize::try_from(extension.get("source")?.as_u64()?).ok();
        self.source.into_iter().chain(self.extensions.values().filter_map(of))
    }
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Mesh {
    pub primitives: Vec<Primitive>,
}

#[derive(Debug, Deserialize)]
pub struct Primitive {
    pub attributes: HashMap<String, usize>,
    pub indices: Option<usize>,
    pub mode: Option<u32>,
    #[serde(default)]
    pub targets: Vec<IgnoredAny>,
    #[serde(default)]
    pub extensions: PrimitiveExtensions,
}

/// A primitive that is Draco-compressed has accessors without bytes.
#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct PrimitiveExtensions {
    #[serde(rename = "KHR_draco_mesh_compression")]
    pub draco: Option<IgnoredAny>,
}

impl Primitive {
    /// The number of layers called `prefix` and a number.
    pub fn layers(&self, prefix: &str) -> u64 {
        self.attributes.keys().filter(|name| name.starts_with(prefix)).count() as u64
    }
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct Node {
    pub children: Vec<usize>,
    pub matrix: Option<Box<[f64; 16]>>,
    pub translation: Option<[f64; 3]>,
    pub rotation: Option<[f64; 4]>,
    pub scale: Option<[f64; 3]>,
    pub mesh: Option<usize>,
    pub skin: Option<usize>,
    pub camera: Option<usize>,
    pub extensions: NodeExtensions,
}

#[derive(Debug, Deserialize, Default)]
#[serde(default)]
pub struct NodeExtensions {
    #[serde(rename = "KHR_lights_punctual")]
    pub light: Option<IgnoredAny>,
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
