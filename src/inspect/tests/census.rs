//! The census of a model: what is counted, and from what.

use std::fs;
use std::io::{Cursor, Write};

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::json;
use zip::ZipWriter;
use zip::write::SimpleFileOptions;

use super::binary_stl;
use super::gltf::Builder;
use crate::domain::{Census, Format};
use crate::fs::blob::Blob;
use crate::inspect::census;
use crate::inspect::image_size::pixels;

fn count(files: &[(&str, &[u8])], target: Format) -> Census {
    let blob = |content: &[u8]| Blob::Memory(Bytes::copy_from_slice(content));
    census(files.iter().map(|(name, content)| ((*name).to_owned(), blob(content))).collect(), target)
}

/// The beginning of a PNG of this size.
fn png(width: u32, height: u32) -> Vec<u8> {
    [&b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"[..], &width.to_be_bytes(), &height.to_be_bytes()].concat()
}

fn join(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// A mesh of one triangle in three places, an animation of two channels, and an image.
fn glb() -> Vec<u8> {
    let mut builder = Builder::new();
    let positions = builder.floats("VEC3", 3, &[0., 0., 0., 1., 0., 0., 0., 1., 0.]);
    let times = builder.floats("SCALAR", 5, &[0., 1., 2., 3., 4.]);
    let image = png(640, 480);
    let image = builder.accessor(5121, "SCALAR", image.len(), &image);
    builder.json["meshes"] = json!([{"primitives": [{"attributes": {"POSITION": positions}}]}]);
    builder.json["nodes"] = json!([{"mesh": 0}, {"mesh": 0}, {"mesh": 0}, {}]);
    let sampler = json!({"input": times, "output": positions});
    builder.json["animations"] = json!([{"samplers": [sampler, sampler]}]);
    // The builder makes a view for each accessor.
    builder.json["images"] = json!([{"bufferView": image}]);
    builder.glb()
}

#[test]
fn the_json_of_a_gltf_announces_what_is_in_it() {
    let glb = glb();
    let found = count(&[("a.glb", &glb)], Format::Glb);
    let expected = Census {
        bytes: glb.len() as u64,
        triangles: 1,
        texture_pixels: 640 * 480,
        frames: 10,
        ..Census::default()
    };
    assert_eq!(found, expected);
    // The name does not matter, and OBJ writes each copy.
    assert_eq!(count(&[("", &glb)], Format::Obj), Census { triangles: 3, ..expected });
    let text = json!({"asset": {"version": "2.0"}, "accessors": [], "meshes": []}).to_string();
    let parts: [(&str, &[u8]); 2] = [("a.gltf", text.as_bytes()), ("a.bin", &[0; 100])];
    assert_eq!(count(&parts, Format::Fbx), Census { bytes: text.len() as u64 + 100, ..Census::default() });
}

#[test]
fn headers_announce_triangles_and_pixels() {
    let stl = binary_stl();
    assert_eq!(count(&[("a.stl", &stl)], Format::Glb).triangles, 1);
    let text = "solid a\n".repeat(100);
    assert_eq!(count(&[("a.stl", text.as_bytes())], Format::Glb).triangles, 800 / 150);
    let ply = "ply\nformat ascii 1.0\nelement vertex 8\nelement face 12\nend_header\n".to_owned()
        + &"0 ".repeat(99);
    assert_eq!(count(&[("a.ply", ply.as_bytes())], Format::Glb).triangles, 12);
    let cloud = ply.replace("vertex 8", "vertex 80").replace("face 12", "face 0");
    assert_eq!(count(&[("a.ply", cloud.as_bytes())], Format::Glb).triangles, 40);
    // It announces more than it can hold.
    let damaged = ply.replace("face 12", "face 18446744073709551615");
    assert_eq!(count(&[("a.ply", damaged.as_bytes())], Format::Glb).triangles, damaged.len() as u64);
    assert_eq!(count(&[("a.bvh", &[b'1'; 500])], Format::Glb).frames, 100);
    assert_eq!(count(&[("a.png", &png(3, 5))], Format::Glb).texture_pixels, 15);
    assert_eq!(count(&[("a.tga", &[0; 100])], Format::Glb).texture_pixels, 400);
}

#[test]
fn other_files_count_by_their_length() {
    let files: [(&str, &[u8]); 4] =
        [("a.obj", &[b'v'; 300]), ("b.fbx", &[b'x'; 200]), ("a.mtl", &[b'm'; 50]), ("readme", &[b'r'; 10])];
    let found = count(&files, Format::Glb);
    let expected =
        Census { bytes: 560, uncounted_bytes: 510, uncounted_format: Some(Format::Obj), ..Census::default() };
    assert_eq!(found, expected);
}

#[test]
fn files_in_a_zip_count_unpacked() {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    for (name, content) in [("model/a.obj", vec![b'v'; 5000]), ("model/wood.png", vec![0; 100])] {
        zip.start_file(name, SimpleFileOptions::default()).unwrap();
        zip.write_all(&content).unwrap();
    }
    let zip = zip.finish().unwrap().into_inner();
    let found = count(&[("sent.zip", &zip)], Format::Glb);
    let expected = Census {
        bytes: 5100,
        uncounted_bytes: 5000,
        uncounted_format: Some(Format::Obj),
        texture_pixels: 400,
        ..Census::default()
    };
    assert_eq!(found, expected);
    let cut = &zip[..zip.len() - 30];
    assert_eq!(count(&[("sent.zip", cut)], Format::Glb).uncounted_bytes, cut.len() as u64);
}

#[test]
fn files_on_the_disk_are_read_as_those_in_memory() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("a");
    fs::write(&path, glb()).unwrap();
    let found = census(vec![("a.glb".to_owned(), Blob::open(&path).unwrap())], Format::Stl);
    assert_eq!(found, count(&[("a.glb", &glb())], Format::Stl));
}

#[test]
fn sizes_of_images_are_read_from_their_headers() {
    let padded = |mut head: Vec<u8>| {
        head.resize(40, 0);
        head
    };
    let webp = |kind: &[u8], rest: &[u8]| join(&[b"RIFF\0\0\0\0WEBP", kind, rest]);
    let size = |first: u32, second: u32| join(&[&first.to_le_bytes(), &second.to_le_bytes()]);
    for (name, head) in [
        ("jpeg", join(&[b"\xff\xd8\xff\xe0\0\x04ab\xff\xff\xc2\0\x11\x08\0\x03\0\x05"])),
        ("webp", webp(b"VP8X", b"\0\0\0\0\0\0\0\0\x02\0\0\x04\0\0")),
        ("lossless webp", webp(b"VP8L", b"\0\0\0\0\x2f\x02\0\x01\0")),
        ("lossy webp", webp(b"VP8 ", b"\0\0\0\0\0\0\0\x9d\x01\x2a\x03\0\x05\0")),
        ("ktx2", join(&[b"\xabKTX 20\xbb\r\n\x1a\n", &[0; 8], &size(3, 5)])),
        ("dds", join(&[b"DDS ", &[0; 8], &size(5, 3)])),
        ("bmp", join(&[b"BM", &[0; 16], &size(3, (-5_i32).cast_unsigned())])),
        ("png", png(5, 3)),
    ] {
        assert_eq!(pixels(&padded(head)), Some(15), "{name}");
    }
    assert_eq!(pixels(b"\xff\xd8\xff\xe0"), None);
    assert_eq!(pixels(b"GIF89a"), None);
}

/// Beginnings of files that are looked into.
const STARTS: &[&[u8]] =
    &[b"", b"glTF\x02\0\0\0", b"PK\x03\x04", b"ply\n", b"{\"meshes\":[", b"\xff\xd8\xff"];

proptest! {
    #[test]
    fn anything_has_a_census(
        start in prop::sample::select(STARTS),
        rest in vec(any::<u8>(), 0..300),
        name in "[a-z]{0,3}\\.(stl|ply|glb|gltf|zip|png|bvh|)",
    ) {
        let content = [start, &rest].concat();
        let found = count(&[(&name, &content)], Format::Stl);
        prop_assert!(found.bytes >= content.len() as u64 || start == b"PK\x03\x04");
    }
}
