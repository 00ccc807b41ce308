use std::fs;
use std::path::Path;

use meshgate::domain::{ConversionError, ErrorCode};
use meshgate::intake::{Model, ModelLimits, Source};
use serde_json::Value;

use super::{Desk, OBJ, glb_of, listing, main_text, read, zip_of};

fn gltf(parts: &str) -> String {
    format!(r#"{{"asset":{{"version":"2.0"}}{parts}}}"#)
}

fn send(files: &[(&str, &[u8])]) -> (Desk, Result<Model, ConversionError>) {
    let desk = Desk::new();
    let model = desk.upload("sent.zip", zip_of(files));
    (desk, model)
}

#[test]
fn buffers_outside_the_model_are_never_opened() {
    for uri in [
        "../../etc/passwd",
        "/etc/passwd",
        "file:///etc/passwd",
        "http://host/a.bin",
        "%2e%2e/%2E%2E/etc/passwd",
        "..\\\\..\\\\x",
    ] {
        let json = gltf(&format!(r#","buffers":[{{"uri":"{uri}","byteLength":4}}]"#));
        let error = Desk::new().upload("a.gltf", json).unwrap_err();
        assert_eq!(error.code, ErrorCode::MissingFiles);
        assert!(error.detail.ends_with("lies outside the model and was not opened"), "{}", error.detail);
    }
}

#[test]
fn a_missing_buffer_is_named() {
    let error = Desk::new()
        .upload("a.gltf", gltf(r#","buffers":[{"uri":"my%20mesh.bin","byteLength":4}]"#))
        .unwrap_err();
    assert_eq!(error.code, ErrorCode::MissingFiles);
    assert_eq!(error.detail, "the buffer \"my mesh.bin\" is missing; send it together with the model");
    let json = gltf(r#","buffers":[{"uri":"a.bin","byteLength":40}]"#);
    let error = Desk::new().upload_all(&[("a.gltf", json.as_bytes()), ("a.bin", b"short")]).unwrap_err();
    assert_eq!(error.detail, "the buffer \"a.bin\" should have 40 bytes and has 5");
}

#[test]
fn references_are_rewritten_and_the_rest_is_kept() {
    let json = gltf(
        r#","zebra":{"b":1,"a":[2.50,1e3]},"buffers":[{"uri":"Data/MESH.bin","byteLength":4}],"images":[
        {"uri":"C:\\art\\Skin%20Tone.PNG","name":"skin"},{"uri":"data:image/png;base64,AAAA"},{"uri":"ok.png"}]"#,
    );
    let (_desk, model) = send(&[
        ("scene/a.gltf", json.as_bytes()),
        ("scene/data/mesh.BIN", b"1234"),
        ("textures/skin tone.png", b"x"),
        ("scene/ok.png", b"x"),
    ]);
    let model = model.unwrap();
    let text = main_text(&model);
    let root: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(root["buffers"][0]["uri"], "data/mesh.BIN");
    assert_eq!(root["images"][0]["uri"], "../textures/skin%20tone.png");
    assert_eq!(root["images"][0]["name"], "skin");
    assert_eq!(root["images"][1]["uri"], "data:image/png;base64,AAAA");
    assert_eq!(root["images"][2]["uri"], "ok.png");
    assert!(text.contains(r#""zebra":{"b":1,"a":[2.5,1000.0]}"#), "{text}");
    assert!(model.missing_textures.is_empty());
}

#[test]
fn an_unchanged_model_is_kept_byte_for_byte() {
    let json = gltf(" , \"buffers\" : [ {\"uri\":\"a%20b.bin\", \"byteLength\": 4.0} ]  ");
    let (_desk, model) = send(&[("a.gltf", json.as_bytes()), ("a b.bin", b"1234")]);
    assert_eq!(main_text(&model.unwrap()), json);
}

#[test]
fn only_the_byte_order_mark_is_removed() {
    let desk = Desk::new();
    let json = gltf(" ,  \"extras\": 1.0");
    let main = desk.put("a.gltf", format!("\u{feff}{json}"));
    let model = desk.prepare(&Source::FileWithSiblings(main.clone()), None, ModelLimits::default()).unwrap();
    assert_eq!(main_text(&model), json);
    assert_eq!(fs::read_to_string(main).unwrap(), format!("\u{feff}{json}"));
}

#[test]
fn missing_images_are_removed_from_every_material() {
    let json = gltf(
        r#","images":[{"uri":"gone.png","mimeType":"image/png"},{"uri":"here.png"},{"uri":"../../etc/shadow"}],
        "textures":[{"source":0},{"source":1},{"source":0,"extensions":{"EXT_texture_webp":{"source":1}}},{"source":2}],
        "materials":[{"pbrMetallicRoughness":{"baseColorTexture":{"index":0},"metallicRoughnessTexture":{"index":1}},
          "normalTexture":{"index":3,"scale":1},"emissiveTexture":{"index":2},
          "extensions":{"KHR_materials_sheen":{"sheenColorTexture":{"index":0},"sheenRoughnessFactor":1}}}],
        "extensions":{"VRM":{"meta":{"texture":0,"title":"t"},"materialProperties":[{"textureProperties":{"_MainTex":0,"_Rim":1}}]}}"#,
    );
    let binary = glb_of(&json, b"");
    for (name, content) in [("a.gltf", json.as_bytes()), ("a.glb", binary.as_slice())] {
        let (_desk, model) = send(&[(name, content), ("here.png", b"x")]);
        let model = model.unwrap();
        let bytes = fs::read(model.folder.join(&model.main)).unwrap();
        let root: Value = if bytes.starts_with(b"glTF") {
            assert_eq!(u32::from_le_bytes(bytes[8..12].try_into().unwrap()) as usize, bytes.len());
            let length = u32::from_le_bytes(bytes[12..16].try_into().unwrap()) as usize;
            serde_json::from_slice(&bytes[20..20 + length]).unwrap()
        } else {
            serde_json::from_slice(&bytes).unwrap()
        };
        assert_eq!(model.missing_textures, ["gone.png", "../../etc/shadow"]);
        let material = &root["materials"][0];
        assert_eq!(
            material["pbrMetallicRoughness"],
            serde_json::json!({"metallicRoughnessTexture":{"index":1}})
        );
        assert!(material.get("normalTexture").is_none());
        assert_eq!(material["emissiveTexture"]["index"], 2);
        assert_eq!(
            material["extensions"]["KHR_materials_sheen"],
            serde_json::json!({"sheenRoughnessFactor":1})
        );
        assert_eq!(root["textures"][2], serde_json::json!({"extensions":{"EXT_texture_webp":{"source":1}}}));
        assert_eq!(root["extensions"]["VRM"]["meta"], serde_json::json!({"title":"t"}));
        assert_eq!(
            root["extensions"]["VRM"]["materialProperties"][0]["textureProperties"],
            serde_json::json!({"_Rim":1})
        );
        // Images keep their indices, and none refers to a missing file.
        assert_eq!(root["images"].as_array().unwrap().len(), 3);
        assert!(root["images"][2]["uri"].as_str().unwrap().starts_with("data:image/png;base64,"));
    }
}

#[test]
fn a_glb_keeps_its_geometry_when_its_json_is_rewritten() {
    let json = gltf(r#","buffers":[{"byteLength":8}],"images":[{"uri":"gone.png"}]"#);
    let (_desk, model) = send(&[("a.glb", &glb_of(&json, b"geometry"))]);
    let model = model.unwrap();
    assert!(fs::read(model.folder.join(&model.main)).unwrap().ends_with(b"\x08\0\0\0BIN\0geometry"));
}

#[test]
fn impossible_accessor_counts_are_refused() {
    let view = r#","buffers":[{"byteLength":8}],"bufferViews":[{"buffer":0,"byteLength":8}]"#;
    let accessor =
        |rest: &str| format!(r#"{view},"accessors":[{{"componentType":5126,"type":"VEC3",{rest}}}]"#);
    let cases = [
        (
            accessor(r#""bufferView":0,"count":4294967295"#),
            "accessor 0 claims 4294967295 elements, more than its buffer holds",
        ),
        (accessor(r#""count":4294967295"#), "accessor 0 claims 4294967295 elements, more than any model has"),
        (accessor(r#""bufferView":7,"count":1"#), "accessor 0 claims 1 elements, more than its buffer holds"),
        (
            accessor(
                r#""count":9,"sparse":{"count":4000000000,"indices":{"bufferView":0,"componentType":5123},"values":{"bufferView":0}}"#,
            ),
            "accessor 0 claims 4000000000 sparse elements, more than its buffer holds",
        ),
        (
            r#","buffers":[{"byteLength":8}],"bufferViews":[{"buffer":0,"byteLength":9}]"#.to_owned(),
            "buffer view 0 reaches beyond its buffer",
        ),
        (
            r#","bufferViews":[{"buffer":3,"byteLength":9}]"#.to_owned(),
            "buffer view 0 names a buffer that does not exist",
        ),
        (
            r#","buffers":[{"byteLength":99}]"#.to_owned(),
            "the glb file claims 99 bytes of geometry and holds 8",
        ),
        (
            accessor(r#""bufferView":0,"count":-1"#),
            "the glb file cannot be read: its JSON is wrong: invalid value: integer `-1`",
        ),
    ];
    for (parts, expected) in cases {
        let error = Desk::new().upload("a.glb", glb_of(&gltf(&parts), b"12345678")).unwrap_err();
        assert_eq!(error.code, ErrorCode::ImportFailed, "{}", error.detail);
        assert!(error.detail.starts_with(expected), "{}", error.detail);
    }
    let model = Desk::new().upload("a.glb", glb_of(&gltf(&accessor(r#""count":3"#)), b"12345678"));
    assert!(model.is_ok(), "{model:?}");
    let glb = glb_of(&gltf(view), b"12345678");
    let error = Desk::new().upload("a.glb", &glb[..glb.len() - 4]).unwrap_err();
    assert_eq!(error.detail, "the glb file ends early");
}

#[test]
fn material_libraries_are_found_or_left_out() {
    let obj = format!(
        "# c\nmtllib ../../etc/passwd\nmtllib My Stuff.MTL\nmtllib gone.mtl\r\n{OBJ}mtllib a.mtl b.mtl\n"
    );
    let mtl = "newmtl m\nmap_Kd -s 1 1 1 -bm 0.5 C:\\art\\My Tex.PNG\nbump -clamp on tex.png\nmap_Ks gone.png\nrefl -type sphere /etc/passwd\nKd 1 1 1\n";
    let (_desk, model) = send(&[
        ("m/a.obj", obj.as_bytes()),
        ("m/my stuff.mtl", mtl.as_bytes()),
        ("m/a.mtl", b"newmtl a\n"),
        ("m/b.mtl", b"newmtl b\n"),
        ("tex/my tex.png", b"x"),
        ("m/tex.png", b"x"),
    ]);
    let model = model.unwrap();
    assert_eq!(main_text(&model), format!("# c\nmtllib my stuff.mtl\n{OBJ}mtllib a.mtl\nmtllib b.mtl\n"));
    assert_eq!(
        read(&model, "m/my stuff.mtl"),
        "newmtl m\nmap_Kd -s 1 1 1 -bm 0.5 ../tex/my tex.png\nbump -clamp on tex.png\nKd 1 1 1\n"
    );
    assert_eq!(model.missing_textures, ["gone.png", "/etc/passwd"]);
    assert_eq!(
        model.warnings,
        [
            "material library \"../../etc/passwd\" lies outside the model and was not opened",
            "material library \"gone.mtl\" was not found"
        ]
    );
}

#[test]
fn usd_layers_are_followed_only_inside_the_model() {
    let main = "#usda 1.0\n( subLayers = [@./Parts/body.usda@] )\ndef \"a\" { asset t = @/etc/passwd@\n asset u = @tex/A.PNG@\n doc = \"m@x @y@\" }\n";
    let body =
        "#usda 1.0\ndef \"b\" { asset t = @C:\\tex\\b.png@ asset g = @gone.png@ asset u = @t.<UDIM>.png@ }\n";
    let (_desk, model) = send(&[
        ("main.usda", main.as_bytes()),
        ("parts/Body.usda", body.as_bytes()),
        ("tex/a.png", b"x"),
        ("tex/b.png", b"x"),
    ]);
    let model = model.unwrap();
    assert_eq!(model.main.to_str(), Some("main.usda"));
    assert_eq!(
        main_text(&model),
        "#usda 1.0\n( subLayers = [@./parts/Body.usda@] )\ndef \"a\" { asset t = @@\n asset u = @./tex/a.png@\n doc = \"m@x @y@\" }\n"
    );
    assert_eq!(
        read(&model, "parts/Body.usda"),
        "#usda 1.0\ndef \"b\" { asset t = @../tex/b.png@ asset g = @gone.png@ asset u = @t.<UDIM>.png@ }\n"
    );
    assert_eq!(model.missing_textures, ["gone.png"]);
    assert_eq!(model.warnings, ["the file \"/etc/passwd\" lies outside the model and was not opened"]);

    for (path, why) in [
        ("../x.usd", "lies outside the model and was not opened"),
        ("x.usd", "is missing; send it together with the model"),
    ] {
        let error = Desk::new()
            .upload("a.usda", format!("#usda 1.0\ndef \"a\" (references = @{path}@) {{}}\n"))
            .unwrap_err();
        assert_eq!(error.code, ErrorCode::MissingFiles);
        assert_eq!(error.detail, format!("the layer \"{path}\" {why}"));
    }
}

/// A binary USD layer with these zero-terminated words, in an LZ4 block without compression.
fn usdc(words: &[u8]) -> Vec<u8> {
    let numbers =
        |numbers: &[u64]| numbers.iter().flat_map(|number| number.to_le_bytes()).collect::<Vec<_>>();
    let block = [&[0, 0xf0, (words.len() - 15) as u8], words].concat();
    let section = [numbers(&[1, words.len() as u64, block.len() as u64]), block].concat();
    let end = 24 + section.len() as u64;
    let contents = [numbers(&[1]), b"TOKENS\0\0\0\0\0\0\0\0\0\0".to_vec(), numbers(&[24, end - 24])].concat();
    [b"PXR-USDC\0\x08\0\0\0\0\0\0".to_vec(), numbers(&[end]), section, contents].concat()
}

#[test]
fn references_are_found_among_tokens_of_binary_usd() {
    let words = b"Mesh\0./art/wood.png\0a.usdc/wood.png\0../wood.png\0gone.png\0/etc/passwd\0.png\0";
    let (_desk, model) = send(&[("a.usdc", &usdc(words)), ("tex/wood.png", b"x")]);
    let model = model.unwrap();
    assert_eq!(listing(&model.folder), ["a.usdc", "art/wood.png", "tex/wood.png"]);
    assert_eq!(model.missing_textures, ["gone.png"]);
}

#[test]
fn obj_references_may_be_percent_encoded() {
    let (_desk, model) = send(&[
        ("a.obj", format!("mtllib m%20x.mtl\n{OBJ}").as_bytes()),
        ("m x.mtl", b"newmtl m\nmap_Kd my%20wood.png\nmap_Ks 100%25.png\n"),
        ("my wood.png", b"x"),
        ("100%25.png", b"x"),
    ]);
    let model = model.unwrap();
    assert_eq!(main_text(&model), format!("mtllib m x.mtl\n{OBJ}"));
    assert_eq!(read(&model, "m x.mtl"), "newmtl m\nmap_Kd my wood.png\nmap_Ks 100%25.png\n");
    assert!(model.missing_textures.is_empty() && model.warnings.is_empty());
}

#[test]
fn a_local_file_brings_only_the_files_it_names() {
    let desk = Desk::new();
    let main = desk.put("a.obj", format!("mtllib a.mtl\n{OBJ}"));
    desk.put("a.mtl", "newmtl m\nmap_Kd textures/T.png\nmap_Ks ../outside.png\n");
    desk.put("textures/t.png", "x");
    desk.put("private.txt", "secret");
    desk.put("other.obj", OBJ);
    fs::write(desk.folder.path().join("outside.png"), "x").unwrap();
    let model = desk.prepare(&Source::FileWithSiblings(main.clone()), None, ModelLimits::default()).unwrap();
    assert_eq!(listing(&model.folder), ["a.mtl", "a.obj", "textures/t.png"]);
    assert_eq!(model.missing_textures, ["../outside.png"]);
    assert_eq!(model.files, 3);
    // The user's own files are as they were.
    assert_eq!(
        fs::read_to_string(desk.sent().join("a.mtl")).unwrap(),
        "newmtl m\nmap_Kd textures/T.png\nmap_Ks ../outside.png\n"
    );
    assert!(read(&model, "a.mtl").contains("map_Kd textures/t.png"));
    // An upload of the same file gets no files from its folder.
    let model = desk.upload("a.obj", fs::read(&main).unwrap()).unwrap();
    assert_eq!(listing(&model.folder), ["a.obj"]);
}

#[test]
fn an_fbx_gets_its_textures_under_the_referenced_names() {
    let desk = Desk::new();
    let fbx = b"; FBX 7.4.0 project file\n RelativeFilename: \"..\\tex\\Skin.PNG\"\n Filename: \"C:\\x\\gone.png\"\n";
    let (_desk, model) = send(&[("m/a.fbx", fbx), ("textures/skin.png", b"x")]);
    assert_eq!(listing(&model.unwrap().folder), ["m/Skin.PNG", "m/a.fbx", "textures/skin.png"]);

    let main = desk.put("a.fbx", fbx);
    desk.put("deep/skin.png", "x");
    desk.put("deep/unused.png", "x");
    let model = desk.prepare(&Source::FileWithSiblings(main), None, ModelLimits::default()).unwrap();
    assert_eq!(listing(&model.folder), ["Skin.PNG", "a.fbx", "deep/skin.png"]);
}

#[test]
fn textures_with_equal_names_keep_their_folders() {
    let fbx = b"; FBX 7.4.0 project file\n \"C:\\x\\body\\d.png\" \"..\\head\\D.png\" \"Video::d.png\"\n";
    let two = [("body/d.png", b"x".as_slice()), ("head/d.png", b"y"), ("old/d.png", b"z")];
    let desk = Desk::new();
    let main = desk.put("a.fbx", fbx);
    for (name, content) in two {
        desk.put(name, content);
    }
    let source = Source::FileWithSiblings(main);
    let model = desk.prepare(&source, None, ModelLimits::default()).unwrap();
    assert_eq!(listing(&model.folder), ["a.fbx", "body/d.png", "head/d.png"]);
    assert!(model.warnings.is_empty());

    // Blender's importer would use it for both of the others.
    desk.put("d.png", "w");
    let model = desk.prepare(&source, None, ModelLimits::default()).unwrap();
    assert_eq!(listing(&model.folder), ["a.fbx", "body/d.png", "d.png", "head/d.png"]);
    assert_eq!(model.warnings, ["several files may be the texture D.png; it may be the wrong one"]);
}

#[test]
fn naming_another_main_file_is_a_warning() {
    let desk = Desk::new();
    desk.put("other.ply", "ply\n");
    let source = Source::FileWithSiblings(desk.put("R.obj", OBJ));
    for (main, said) in [
        ("other.ply", vec!["main names \"other.ply\", but the model is the one file \"R.obj\""]),
        ("./r.obj", vec![]),
    ] {
        let model = desk.prepare(&source, Some(main), ModelLimits::default()).unwrap();
        assert_eq!(model.warnings, said);
    }
}

#[test]
fn long_lines_of_a_large_obj_are_kept() {
    let long = format!("# {}\n", "x".repeat(200_000));
    let obj = format!("mtllib gone.mtl\n{long}{}", OBJ.repeat(1000));
    let desk = Desk::new();
    let model = desk.upload("a.obj", &obj).unwrap();
    assert_eq!(main_text(&model), obj.strip_prefix("mtllib gone.mtl\n").unwrap());
    assert!(Path::new(&model.main).is_relative());
}
