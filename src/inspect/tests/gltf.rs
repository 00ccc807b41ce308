//! glTF: what is counted, and where vertices end up.

use serde_json::{Value, json};

use super::{near, read, refused};
use crate::domain::report::Clip;

/// A document and its bytes, put together accessor by accessor.
pub struct Builder {
    pub json: Value,
    bin: Vec<u8>,
}

impl Builder {
    pub fn new() -> Self {
        Self {
            json: json!({"asset": {"version": "2.0"}, "accessors": [], "bufferViews": []}),
            bin: Vec::new(),
        }
    }

    /// Adds an accessor of `count` elements; returns its index.
    pub fn accessor(&mut self, component: u32, kind: &str, count: usize, bytes: &[u8]) -> usize {
        let view = self.list("bufferViews").len();
        let (offset, length) = (self.bin.len(), bytes.len());
        self.list("bufferViews").push(json!({"buffer": 0, "byteOffset": offset, "byteLength": length}));
        self.bin.extend(bytes);
        self.bin.resize(self.bin.len().next_multiple_of(4), 0);
        let accessor = json!({"bufferView": view, "componentType": component, "type": kind, "count": count});
        self.list("accessors").push(accessor);
        self.list("accessors").len() - 1
    }

    pub fn floats(&mut self, kind: &str, count: usize, numbers: &[f32]) -> usize {
        let bytes: Vec<u8> = numbers.iter().flat_map(|number| number.to_le_bytes()).collect();
        self.accessor(5126, kind, count, &bytes)
    }

    fn list(&mut self, name: &str) -> &mut Vec<Value> {
        self.json[name].as_array_mut().unwrap()
    }

    pub fn glb(mut self) -> Vec<u8> {
        self.json["buffers"] = json!([{"byteLength": self.bin.len()}]);
        let mut text = self.json.to_string().into_bytes();
        text.resize(text.len().next_multiple_of(4), b' ');
        let length = 12 + 8 + text.len() + 8 + self.bin.len();
        let mut file = b"glTF\x02\0\0\0".to_vec();
        file.extend((length as u32).to_le_bytes());
        file.extend((text.len() as u32).to_le_bytes());
        file.extend(b"JSON");
        file.extend(text);
        file.extend((self.bin.len() as u32).to_le_bytes());
        file.extend(b"BIN\0");
        file.extend(self.bin);
        file
    }
}

const TRIANGLE: [f32; 9] = [0., 0., 0., 1., 0., 0., 0., 2., 0.];

/// A skinned triangle with a blend shape, a camera, a light, a clip and a humanoid.
pub fn everything() -> Vec<u8> {
    let mut model = Builder::new();
    let position = model.floats("VEC3", 3, &TRIANGLE);
    let joints = model.accessor(5121, "VEC4", 3, &[0, 1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0]);
    let weights = model.floats("VEC4", 3, &[1., 0., 0., 0., 0.5, 0.5, 0., 0., 0., 1., 0., 0.]);
    let mut identity = [0_f32; 32];
    (0..32).filter(|place| place % 16 % 5 == 0).for_each(|place| identity[place] = 1.);
    let binds = model.floats("MAT4", 2, &identity);
    let times = model.floats("SCALAR", 3, &[0.5, 0.75, 1.0]);
    let few = model.floats("SCALAR", 2, &[0., 2.]);
    let moves = model.floats("VEC3", 3, &TRIANGLE);
    let attributes = json!({"POSITION": position, "JOINTS_0": joints, "WEIGHTS_0": weights,
        "TEXCOORD_0": weights, "TEXCOORD_1": weights, "COLOR_0": weights});
    let primitive = json!({"attributes": attributes, "targets": [{"POSITION": position}], "material": 0});
    model.json["meshes"] = json!([{"primitives": [primitive, primitive]}]);
    model.json["nodes"] = json!([
        {"mesh": 0, "skin": 0, "translation": [100, 0, 0]},
        {"name": "Hips", "children": [2]},
        {"name": "Chest", "translation": [0, 10, 0]},
        {"camera": 0, "extensions": {"KHR_lights_punctual": {"light": 0}}},
    ]);
    model.json["skins"] = json!([{"joints": [1, 2], "inverseBindMatrices": binds}]);
    model.json["materials"] = json!([{}]);
    model.json["images"] = json!([{"bufferView": 0}, {"uri": "gone.png"}]);
    model.json["textures"] = json!([{"source": 0}, {"extensions": {"EXT_texture_webp": {"source": 0}}}]);
    model.json["animations"] = json!([{"name": "walk", "channels": [], "samplers": [
        {"input": times, "output": moves}, {"input": few, "output": moves}]}]);
    model.json["extensions"] = json!({"VRMC_vrm": {"humanoid": {"humanBones": {"hips": {"node": 1}}}}});
    model.glb()
}

#[test]
fn every_part_of_a_gltf_is_counted_once() {
    let counts = read("a.glb", &everything()).unwrap();
    assert_eq!((counts.objects, counts.meshes, counts.vertices, counts.triangles), (2, 1, 3, 2));
    assert_eq!((counts.bones, counts.skins, counts.blend_shapes), (2, 1, 1));
    assert_eq!((counts.uv_layers, counts.vertex_colours), (2, 1));
    assert_eq!((counts.materials, counts.textures), (1, 1));
    assert_eq!(counts.missing_textures, ["gone.png"]);
    assert_eq!((counts.cameras, counts.lights, counts.humanoid), (1, 1, true));
    // The densest channel has 4 keys a second, the clip is 2 seconds long.
    assert_eq!(counts.clips, [Clip { name: "walk".to_owned(), frames: 9, seconds: 2.0, fps: 4.0 }]);
    // The joints place the vertices; the node does not: (1, 0, 0) is half way up, (0, 2, 0) all the way.
    near(counts.bounds_m, [0., 0., 0.], [1., 12., 0.]);
}

/// Two triangles in a node that stands within another.
fn rigid(model: &mut Builder, position: usize, parent: &Value, child: &Value) {
    model.json["meshes"] = json!([{"primitives": [{"attributes": {"POSITION": position}}]}]);
    let mut parent = parent.clone();
    parent["children"] = json!([1]);
    let mut child = child.clone();
    child["mesh"] = json!(0);
    model.json["nodes"] = json!([parent, child]);
}

#[test]
fn node_transforms_apply_in_gltf_order() {
    let mut model = Builder::new();
    let position = model.floats("VEC3", 3, &TRIANGLE);
    let half = std::f64::consts::FRAC_1_SQRT_2;
    // A quarter turn about z: x becomes y, y becomes -x.
    let turned = json!({"rotation": [0, 0, half, half], "translation": [10, 0, 0]});
    rigid(&mut model, position, &turned, &json!({"scale": [3, 1, 1], "translation": [0, 0, 5]}));
    near(read("a.glb", &model.glb()).unwrap().bounds_m, [8., 0., 5.], [10., 3., 5.]);
}

#[test]
fn quantised_interleaved_and_sparse_vertices_are_read() {
    // Normalised shorts in a view with a stride of 8.
    let mut model = Builder::new();
    let shorts = [[0, 0, 0, 9], [32767, 0, 0, 9], [0, -32767, 0, 9_i16]].concat();
    let bytes: Vec<u8> = shorts.iter().flat_map(|number| number.to_le_bytes()).collect();
    let position = model.accessor(5122, "VEC3", 3, &bytes);
    model.json["accessors"][position]["normalized"] = json!(true);
    model.json["bufferViews"][0]["byteStride"] = json!(8);
    rigid(&mut model, position, &json!({}), &json!({"scale": [2, 2, 2]}));
    near(read("a.glb", &model.glb()).unwrap().bounds_m, [0., -2., 0.], [2., 0., 0.]);

    // All zeros but for one vertex; the rest has no bytes at all.
    let mut model = Builder::new();
    model.accessor(5121, "SCALAR", 1, &[7]);
    model.floats("VEC3", 1, &[1., 2., 3.]);
    let sparse =
        json!({"count": 1, "indices": {"bufferView": 0, "componentType": 5121}, "values": {"bufferView": 1}});
    let accessor =
        json!({"componentType": 5126, "type": "VEC3", "count": 4_000_000_000_u64, "sparse": sparse});
    model.list("accessors").push(accessor);
    rigid(&mut model, 2, &json!({}), &json!({}));
    near(read("a.glb", &model.glb()).unwrap().bounds_m, [0., 0., 0.], [1., 2., 3.]);
}

#[test]
fn compressed_vertices_use_their_accessor_bounds() {
    let mut model = Builder::new();
    let limits =
        json!({"componentType": 5126, "type": "VEC3", "count": 3, "min": [-1, 0, 0], "max": [1, 2, 0]});
    model.list("accessors").push(limits);
    rigid(&mut model, 0, &json!({}), &json!({"translation": [1, 0, 0]}));
    model.json["meshes"][0]["primitives"][0]["extensions"] =
        json!({"KHR_draco_mesh_compression": {"bufferView": 0}});
    model.floats("SCALAR", 1, &[0.]);
    let counts = read("a.glb", &model.glb()).unwrap();
    assert_eq!((counts.vertices, counts.triangles), (3, 1));
    near(counts.bounds_m, [0., 0., 0.], [2., 2., 0.]);
}

#[test]
fn many_instances_of_a_mesh_are_counted_quickly() {
    let mut model = Builder::new();
    let position = model.floats("VEC3", 30_000, &TRIANGLE.repeat(10_000));
    model.json["accessors"][0]["min"] = json!([0, 0, 0]);
    model.json["accessors"][0]["max"] = json!([1, 2, 0]);
    model.json["meshes"] = json!([{"primitives": [{"attributes": {"POSITION": position}}]}]);
    let nodes: Vec<Value> = (0..100_000).map(|x| json!({"mesh": 0, "translation": [x, 0, 0]})).collect();
    model.json["nodes"] = nodes.into();
    let counts = read("a.glb", &model.glb()).unwrap();
    assert_eq!(counts.vertices, 3_000_000_000);
    near(counts.bounds_m, [0., 0., 0.], [100_000., 2., 0.]);
}

type Change<'a> = &'a dyn Fn(&mut Builder, usize);

#[test]
fn invalid_gltf_indices_are_refused() {
    let with = |change: Change| {
        let mut model = Builder::new();
        let position = model.floats("VEC3", 3, &TRIANGLE);
        rigid(&mut model, position, &json!({}), &json!({}));
        change(&mut model, position);
        refused("a.glb", &model.glb())
    };
    let cases: [(Change, &str); 9] = [
        (&|model, at| model.json["accessors"][at]["count"] = json!(4_000_000_000_u64), "accessor 0"),
        (&|model, at| model.json["accessors"][at]["count"] = json!(u64::MAX), "accessor 0"),
        (&|model, at| model.json["accessors"][at]["type"] = json!("VEC9"), "unknown type"),
        (&|model, _| model.json["bufferViews"][0]["byteLength"] = json!(u64::MAX), "buffer view 0"),
        (&|model, _| model.json["bufferViews"][0]["byteStride"] = json!(1), "stride"),
        (&|model, _| model.json["nodes"][1]["mesh"] = json!(7), "no mesh 7"),
        (&|model, _| model.json["nodes"][1]["children"] = json!([0]), "its own ancestor"),
        (&|model, _| model.json["nodes"][1]["children"] = json!([9]), "no node 9"),
        (&|model, _| model.json["nodes"] = json!({}), "JSON"),
    ];
    for (change, part) in cases {
        let detail = with(change);
        assert!(detail.contains(part), "{detail}");
    }
}

#[test]
fn deeply_nested_json_is_handled() {
    let deep = "[".repeat(100_000);
    let ends = "]".repeat(100_000);
    let text = format!(r#"{{"asset":{{"version":"2.0"}},"extras":{deep}{ends}}}"#);
    assert_eq!(read("a.gltf", text.as_bytes()).unwrap().objects, 0);
    assert!(refused("a.gltf", text.replace("extras", "nodes").as_bytes()).contains("JSON"));
}

#[test]
fn nearly_coincident_keyframes_give_no_frame_rate() {
    let mut model = Builder::new();
    let close = model.floats("SCALAR", 3, &[0., 1e-43, 2e-43]);
    let long = model.floats("SCALAR", 2, &[0., 2.]);
    model.json["animations"] =
        json!([{"samplers": [{"input": close, "output": close}, {"input": long, "output": long}]}]);
    let clip = Clip { name: "animation 0".to_owned(), frames: 3, seconds: 2.0, fps: 0.0 };
    assert_eq!(read("a.glb", &model.glb()).unwrap().clips, [clip]);
}

#[test]
fn bounds_include_the_vertices_of_every_block() {
    // More than are read at a time, with the outermost ones first, last and about where blocks meet.
    for outermost in [0, 5461, 5462, 16383, 19_999] {
        let mut model = Builder::new();
        let mut points = vec![0.5_f32; 3 * 20_000];
        points[3 * outermost + 1] = -7.0;
        points[3 * (19_999 - outermost) + 2] = 9.0;
        let position = model.floats("VEC3", 20_000, &points);
        model.json["meshes"] = json!([{"primitives": [{"attributes": {"POSITION": position}, "mode": 0}]}]);
        model.json["nodes"] = json!([{"mesh": 0, "translation": [1, 0, 0]}]);
        near(read("a.glb", &model.glb()).unwrap().bounds_m, [1.5, -7., 0.5], [1.5, 0.5, 9.]);
    }
}
