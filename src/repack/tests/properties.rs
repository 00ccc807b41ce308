//! Random models, there and back.

use std::fs;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use proptest::collection::vec;
use proptest::prelude::*;
use tempfile::TempDir;

use super::loader::{Loaded, glb};
use super::{ODD, convert, repack};
use crate::context::Context;
use crate::domain::Format;
use crate::domain::options::Packaging;
use crate::formats::gltf::asset::Asset;
use crate::formats::gltf::json_text::Members;

#[derive(Debug, Clone, Copy)]
enum Kept {
    InFile,
    InJson,
}

#[derive(Debug, Clone)]
struct Model {
    buffers: Vec<(Vec<u8>, Kept)>,
    /// Where a buffer without bytes is put in.
    fallback: Option<usize>,
    /// Buffer, and two places in it.
    views: Vec<(usize, usize, usize)>,
    images: Vec<(Vec<u8>, Kept)>,
    separator: &'static str,
}

fn model() -> impl Strategy<Value = Model> {
    let kept = || prop_oneof![Just(Kept::InFile), Just(Kept::InJson)];
    let content = |range| (vec(any::<u8>(), range), kept());
    (
        vec(content(1..40), 0..4),
        proptest::option::of(0_usize..4),
        vec((0_usize..4, 0_usize..40, 0_usize..40), 0..6),
        vec(content(0..40), 0..4),
        prop_oneof![Just(","), Just(" ,\n\t")],
    )
        .prop_map(|(buffers, fallback, views, images, separator)| Model {
            buffers,
            fallback,
            views,
            images,
            separator,
        })
}

impl Model {
    fn write(&self) -> TempDir {
        let folder = tempfile::tempdir().unwrap();
        let uri = |name: &str, (content, kept): &(Vec<u8>, Kept)| match kept {
            Kept::InFile => {
                fs::write(folder.path().join(name), content).unwrap();
                name.replace(' ', "%20")
            }
            Kept::InJson => format!("data:application/x-{};base64,{}", &name[..1], STANDARD.encode(content)),
        };
        let mut buffers: Vec<(String, usize)> = Vec::new();
        for (index, buffer) in self.buffers.iter().enumerate() {
            let uri = uri(&format!("b {index}.bin"), buffer);
            let length = buffer.0.len();
            buffers.push((
                format!(r#"{{"extras":{{"n":{index}.0}},"uri":"{uri}","byteLength":{length}}}"#),
                length,
            ));
        }
        if let Some(place) = self.fallback {
            let place = place.min(buffers.len());
            buffers
                .insert(place, (r#"{"byteLength":1000,"extensions":{"X":{"fallback":true}}}"#.to_owned(), 0));
        }
        let mut views = Vec::new();
        for (number, (buffer, from, to)) in self.views.iter().enumerate() {
            let Some((_, length)) = buffers.get(*buffer) else { continue };
            let (from, to) = (*from.min(to).min(length), *from.max(to).min(length));
            // The offset may be absent where it is 0.
            let offset =
                if from > 0 || number % 2 == 0 { format!(r#""byteOffset":{from},"#) } else { String::new() };
            let length = to - from;
            views.push(format!(r#"{{"name":"v{number}",{offset}"buffer":{buffer},"byteLength":{length}}}"#));
        }
        let images: Vec<String> = self
            .images
            .iter()
            .enumerate()
            .map(|(index, image)| {
                let uri = uri(&format!("i{index}.png"), image);
                format!(r#"{{"name":"i","uri":"{uri}","extras":[1.50]}}"#)
            })
            .collect();
        let buffers: Vec<String> = buffers.into_iter().map(|(text, _)| text).collect();
        let mut parts = vec![r#""images":["#.to_owned() + &images.join(self.separator) + "]"];
        parts.push(ODD.to_owned());
        parts.push(r#""asset":{"version":"2.0"}"#.to_owned());
        for (name, list) in [("bufferViews", views), ("buffers", buffers)] {
            // Empty lists are not allowed, so there is none.
            if !list.is_empty() {
                parts.push(format!("\"{name}\":[{}]", list.join(self.separator)));
            }
        }
        fs::write(folder.path().join("m.gltf"), format!("{{{}}}", parts.join(self.separator))).unwrap();
        folder
    }
}

fn same(before: &Loaded, after: &Loaded) {
    let views = before.views();
    assert_eq!(after.views()[..views.len()], views[..]);
    assert_eq!(after.images(), before.images());
    assert_eq!(after.rest(views.len()), before.rest(views.len()));
    assert!(after.text.contains(ODD), "{}", after.text);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn glb_to_gltf_and_back_is_lossless(model in model()) {
        let folder = model.write();
        let original = Loaded::read(&folder.path().join("m.gltf"));
        let (glb, _) = convert(folder.path(), "m.gltf", Format::Glb, Packaging::Auto);
        let repacked = Loaded::read(&glb.path().join("result.glb"));
        same(&original, &repacked);
        for packaging in [Packaging::Single, Packaging::Zip] {
            let (gltf, _) = convert(glb.path(), "result.glb", Format::Gltf, packaging);
            same(&repacked, &Loaded::read(&gltf.path().join("result.gltf")));
            let (again, _) = convert(gltf.path(), "result.gltf", Format::Glb, Packaging::Auto);
            let again = Loaded::read(&again.path().join("result.glb"));
            same(&repacked, &again);
            prop_assert_eq!(&again.buffers, &repacked.buffers);
            let (plain, _) = convert(folder.path(), "m.gltf", Format::Gltf, packaging);
            same(&original, &Loaded::read(&plain.path().join("result.gltf")));
        }
    }

    #[test]
    fn damaged_files_cause_no_panic(
        model in model(), cut in 0_usize..600, flips in vec((any::<usize>(), any::<u8>()), 0..4), binary in any::<bool>(),
    ) {
        let folder = model.write();
        let (glb, _) = convert(folder.path(), "m.gltf", Format::Glb, Packaging::Auto);
        let (folder, name) =
            if binary { (glb.path(), "result.glb") } else { (folder.path(), "m.gltf") };
        let path = folder.join(name);
        let mut bytes = fs::read(&path).unwrap();
        if cut % 2 == 0 {
            bytes.truncate(bytes.len().saturating_sub(cut));
        }
        for (place, value) in flips {
            let length = bytes.len().max(1);
            if let Some(byte) = bytes.get_mut(place % length) {
                *byte = value;
            }
        }
        fs::write(&path, bytes).unwrap();
        for output in [Format::Glb, Format::Gltf] {
            let out = tempfile::tempdir().unwrap();
            let _ = repack(folder, name, out.path(), "x", output, Packaging::Zip);
        }
    }

    #[test]
    fn base64_is_read_from_any_offset(
        content in vec(any::<u8>(), 1..200),
        copies in prop_oneof![Just(1), 1..300_usize],
        from in any::<prop::sample::Index>(),
        length in 0_u64..250,
        escaped in any::<bool>(),
    ) {
        // Long ones have marks in them.
        let content = content.repeat(copies);
        let from = from.index(content.len() + 50) as u64;
        let mut text = STANDARD.encode(&content);
        if escaped {
            text = text.replace('/', r"\/");
        }
        let json = format!(r#"{{"asset":{{"version":"2.0"}},"buffers":[{{"byteLength":{},"uri":"data:;base64,{text}"}}]}}"#, content.len());
        let folder = super::folder_with(&[("m.gltf", json.as_bytes())]);
        let source = Asset::open(&folder.path().join("m.gltf"), &Context::default()).unwrap();
        let root = Members::parse(source.json.text()).unwrap();
        let stretch = source.buffer(0, &root.objects("buffers").unwrap()[0]).unwrap().unwrap();
        let mut read = Vec::new();
        std::io::Read::read_to_end(&mut stretch.open(from, length).unwrap(), &mut read).unwrap();
        let start = (from as usize).min(content.len());
        let end = (start + length as usize).min(content.len());
        prop_assert_eq!(&read[..], &content[start..end]);
    }
}

#[test]
fn unknown_glb_chunks_are_kept() {
    let json = serde_json::json!({"asset": {"version": "2.0"}, "images": [{"uri": "i.png"}]});
    let mut file = glb(&json, b"");
    file.extend(b"\x04\0\0\0WHATmore");
    let length = file.len() as u32;
    file[8..12].copy_from_slice(&length.to_le_bytes());
    let folder = super::folder_with(&[("m.glb", &file), ("i.png", super::PNG)]);
    let (out, _) = convert(folder.path(), "m.glb", Format::Glb, Packaging::Auto);
    assert!(fs::read(out.path().join("result.glb")).unwrap().ends_with(b"\x04\0\0\0WHATmore"));
}
