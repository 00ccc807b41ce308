//! Small files of each format, whose contents are known; then the same files, damaged.

mod census;
mod damage;
mod gltf;

use std::fs;

use tempfile::TempDir;

use super::frame_rate::tidy_fps;
use super::inspect;
use crate::context::Context;
use crate::domain::report::{Bounds, Clip, Counts};
use crate::domain::{ConversionError, ErrorCode, Format};

fn read(name: &str, content: &[u8]) -> Result<Counts, ConversionError> {
    read_with(name, content, &[])
}

fn read_with(name: &str, content: &[u8], others: &[(&str, &str)]) -> Result<Counts, ConversionError> {
    let folder: TempDir = tempfile::tempdir().unwrap();
    for (name, content) in others {
        fs::write(folder.path().join(name), content).unwrap();
    }
    let path = folder.path().join(name);
    fs::write(&path, content).unwrap();
    let format = Format::from_extension(name.rsplit('.').next().unwrap()).unwrap();
    inspect(&path, format, &Context::default())
}

fn refused(name: &str, content: &[u8]) -> String {
    let error = read(name, content).unwrap_err();
    assert_eq!(error.code, ErrorCode::ImportFailed);
    error.detail
}

fn near(bounds: Option<Bounds>, min: [f64; 3], max: [f64; 3]) {
    let bounds = bounds.unwrap();
    let pairs = bounds.min.into_iter().chain(bounds.max).zip(min.into_iter().chain(max));
    let mut pairs = pairs.into_iter();
    // And none of them is minus zero.
    assert!(pairs.all(|(a, b)| (a - b).abs() < 1e-5 && (a != 0.0 || a.is_sign_positive())), "{bounds:?}");
}

/// A triangle and a quad in two objects; the quad has UVs and a material with two textures.
const OBJ: &str = "# two objects\nmtllib m.mtl\no Triangle\nv 0 0 0 1 0 0\nv 2 0 0 0 1 0\nv 0 3 0 0 0 1\nf 1 2 3\n\
    o Quad\nv 0 0 4\nv 1 0 4\nv 1 1 4\nv 0 1 4\nvt 0 0\nusemtl wood\nf -4/1 -3/1 \\\n -2/1 -1/1\no Empty\n";
const MTL: &str =
    "newmtl wood\nmap_Kd -s 1 1 1 my wood.png\nmap_Bump -bm 0.2 gone.png\nnewmtl unused\nmap_Kd unused.png\n";

#[test]
fn obj_counts_include_materials() {
    let counts = read_with("a.obj", OBJ.as_bytes(), &[("m.mtl", MTL), ("my wood.png", "x")]).unwrap();
    assert_eq!((counts.objects, counts.meshes, counts.vertices, counts.triangles), (2, 2, 7, 3));
    assert_eq!((counts.uv_layers, counts.vertex_colours, counts.materials, counts.textures), (1, 1, 1, 1));
    assert_eq!(counts.missing_textures, ["gone.png"]);
    near(counts.bounds_m, [0., 0., 0.], [2., 3., 4.]);
}

#[test]
fn files_outside_the_obj_folder_are_never_read() {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("in")).unwrap();
    fs::write(folder.path().join("m.mtl"), MTL).unwrap();
    let path = folder.path().join("in/a.obj");
    fs::write(&path, OBJ.replace("m.mtl", "../m.mtl")).unwrap();
    let counts = inspect(&path, Format::Obj, &Context::default()).unwrap();
    assert_eq!((counts.textures, counts.missing_textures.len()), (0, 0));
}

const ASCII_STL: &str = "solid a\nfacet normal 0 0 1\nouter loop\nvertex 0 0 0\nvertex 1 0 0\nvertex 0 2 3\nendloop\n\
    endfacet\nendsolid a\n";

fn binary_stl() -> Vec<u8> {
    let mut file = b"solid, says the header of some binary files".to_vec();
    file.resize(80, 0);
    file.extend(1_u32.to_le_bytes());
    for number in [0., 0., 1., 0., 0., 0., 1., 0., 0., 0., 2., 3.] {
        file.extend(f32::to_le_bytes(number));
    }
    file.extend([0, 0]);
    file
}

#[test]
fn stl_files_are_read_as_z_up() {
    for content in [ASCII_STL.as_bytes(), &binary_stl()] {
        let counts = read("a.stl", content).unwrap();
        assert_eq!((counts.objects, counts.vertices, counts.triangles), (1, 3, 1));
        near(counts.bounds_m, [0., 0., -2.], [1., 3., 0.]);
    }
    let mut cut = binary_stl();
    cut[..5].fill(b'x');
    assert!(refused("a.stl", &cut[..100]).contains("truncated"));
    assert!(refused("a.stl", b"solid a\nfacet normal 0 0 1\n").contains("truncated"));
}

const ASCII_PLY: &str = "ply\nformat ascii 1.0\ncomment made by hand\nelement vertex 4\nproperty float x\n\
    property float y\nproperty float z\nproperty uchar red\nproperty uchar green\nproperty uchar blue\n\
    property float s\nproperty float t\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n\
    0 0 0 255 0 0 0 0\n1 0 0 255 0 0 0 0\n1 2 0 255 0 0 0 0\n0 2 3 255 0 0 0 0\n4 0 1 2 3\n";

fn binary_ply(big: bool) -> Vec<u8> {
    let order = if big { "big" } else { "little" };
    let mut file = format!(
        "ply\nformat binary_{order}_endian 1.0\nelement vertex 3\nproperty double x\nproperty float y\n\
         property float z\nelement face 1\nproperty list uchar int vertex_indices\nend_header\n"
    )
    .into_bytes();
    for [x, y, z] in [[0_f32, 0., 0.], [1., 0., 0.], [0., 2., 3.]] {
        if big {
            file.extend(f64::from(x).to_be_bytes());
            file.extend([y.to_be_bytes(), z.to_be_bytes()].concat());
        } else {
            file.extend(f64::from(x).to_le_bytes());
            file.extend([y.to_le_bytes(), z.to_le_bytes()].concat());
        }
    }
    file.push(3);
    file.extend([0; 12]);
    file
}

#[test]
fn ply_files_of_every_encoding_are_z_up() {
    let counts = read("a.ply", ASCII_PLY.as_bytes()).unwrap();
    assert_eq!((counts.vertices, counts.triangles, counts.vertex_colours, counts.uv_layers), (4, 2, 1, 1));
    near(counts.bounds_m, [0., 0., -2.], [1., 3., 0.]);
    for big in [false, true] {
        let file = binary_ply(big);
        let counts = read("a.ply", &file).unwrap();
        assert_eq!(
            (counts.vertices, counts.triangles, counts.vertex_colours, counts.uv_layers),
            (3, 1, 0, 0)
        );
        near(counts.bounds_m, [0., 0., -2.], [1., 3., 0.]);
        assert!(refused("a.ply", &file[..file.len() - 1]).contains("truncated"));
    }
    let absurd = ASCII_PLY.replace("vertex 4", "vertex 4000000000");
    assert!(refused("a.ply", absurd.as_bytes()).contains("truncated"));
}

const BVH: &str = "HIERARCHY\nROOT Hips\n{\n\tOFFSET 0 0 0\n\tCHANNELS 6 Xposition Yposition Zposition Zrotation \
    Xrotation Yrotation\n\tJOINT Chest\n\t{\n\t\tOFFSET 0 1 0\n\t\tCHANNELS 3 Zrotation Xrotation Yrotation\n\
    \t\tEnd Site\n\t\t{\n\t\t\tOFFSET 0 1 0\n\t\t}\n\t}\n}\nMOTION\nFrames: 3\nFrame Time: 0.041667\n\
    0 0 0 0 0 0 0 0 0\n0 0 0 0 0 0 1e1 0 0\n0 0 0 0 0 0 20 0 0\n";

#[test]
fn a_bvh_has_joints_and_one_clip() {
    let counts = read("walk.bvh", BVH.as_bytes()).unwrap();
    assert_eq!((counts.objects, counts.meshes, counts.bones), (1, 0, 2));
    assert_eq!(counts.clips, [Clip { name: "walk".to_owned(), frames: 3, seconds: 2.0 / 24.0, fps: 24.0 }]);
    assert_eq!(counts.bounds_m, None);
    let one_line = BVH.split_once("MOTION").unwrap();
    let one_line = format!("{}\nMOTION{}", one_line.0.replace('\n', " "), one_line.1);
    for names in [BVH, &one_line] {
        let odd =
            names.replace("ROOT Hips", "ROOT Root").replace("JOINT Chest", "JOINT joint CHANNELS 9 end");
        assert_ne!(odd, names);
        assert_eq!(read("walk.bvh", odd.as_bytes()).unwrap(), counts);
    }
    let cut = BVH.strip_suffix("0 0 0 0 0 0 20 0 0\n").unwrap();
    assert!(refused("walk.bvh", cut.as_bytes()).contains("2 of 3 frames"));
    assert!(refused("walk.bvh", b"HIERARCHY\nROOT a\n{\n}\n").contains("before any MOTION"));
}

#[test]
fn engine_formats_cannot_be_inspected_natively() {
    assert_eq!(read("a.fbx", b"").unwrap_err().code, ErrorCode::Internal);
    for format in Format::all() {
        assert_eq!(
            super::can_inspect(format),
            inspect(std::path::Path::new("nothing there"), format, &Context::default()).unwrap_err().code
                != ErrorCode::Internal
        );
    }
}

#[test]
fn frame_rates_are_rounded_to_common_values() {
    for (raw, tidy) in [(1.0 / 0.041_667, 24.0), (1.0 / 0.008_333, 120.0), (23.976, 23.976), (29.97, 29.97)] {
        assert!((tidy_fps(raw) - tidy).abs() < 1e-9, "{raw}");
    }
    assert!(tidy_fps(f64::INFINITY).abs() < f64::EPSILON);
}
