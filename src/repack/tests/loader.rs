//! A plain reader of glTF for the tests, which shares nothing with the code that it judges.

use std::fs;
use std::path::Path;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use percent_encoding::percent_decode_str;
use serde_json::Value;

pub struct Loaded {
    pub text: String,
    pub json: Value,
    pub buffers: Vec<Option<Vec<u8>>>,
    folder: std::path::PathBuf,
}

impl Loaded {
    pub fn read(path: &Path) -> Self {
        let bytes = fs::read(path).unwrap();
        let word = |at: usize| u32::from_le_bytes(bytes[at..at + 4].try_into().unwrap()) as usize;
        let (text, mut bin) = if bytes.starts_with(b"glTF") {
            assert_eq!(word(4), 2);
            assert_eq!(word(8), bytes.len());
            let json_end = 20 + word(12);
            assert_eq!(json_end % 4, 0);
            let bin = (json_end < bytes.len()).then(|| {
                assert_eq!(&bytes[json_end + 4..json_end + 8], b"BIN\0");
                let length = word(json_end);
                assert_eq!(length % 4, 0);
                bytes[json_end + 8..json_end + 8 + length].to_vec()
            });
            (String::from_utf8(bytes[20..json_end].to_vec()).unwrap(), bin)
        } else {
            (String::from_utf8(bytes).unwrap(), None)
        };
        let json: Value = serde_json::from_str(&text).unwrap();
        let mut loaded =
            Loaded { text, json, buffers: Vec::new(), folder: path.parent().unwrap().to_owned() };
        for buffer in loaded.json["buffers"].as_array().cloned().unwrap_or_default() {
            let length = usize::try_from(buffer["byteLength"].as_u64().unwrap()).unwrap();
            let bytes = buffer["uri"].as_str().map(|uri| loaded.uri(uri)).or_else(|| bin.take());
            loaded.buffers.push(bytes.map(|bytes| bytes[..length].to_vec()));
        }
        loaded
    }

    fn uri(&self, uri: &str) -> Vec<u8> {
        match uri.strip_prefix("data:") {
            Some(data) => STANDARD.decode(data.split_once(',').unwrap().1).unwrap(),
            None => {
                fs::read(self.folder.join(percent_decode_str(uri).decode_utf8().unwrap().as_ref())).unwrap()
            }
        }
    }

    fn slice(&self, view: &Value) -> Vec<u8> {
        let number = |name: &str| usize::try_from(view[name].as_u64().unwrap_or(0)).unwrap();
        let Some(buffer) = &self.buffers[number("buffer")] else { return Vec::new() };
        buffer[number("byteOffset")..][..number("byteLength")].to_vec()
    }

    pub fn views(&self) -> Vec<Vec<u8>> {
        self.json["bufferViews"].as_array().into_iter().flatten().map(|view| self.slice(view)).collect()
    }

    pub fn images(&self) -> Vec<Vec<u8>> {
        let of = |image: &Value| match image["uri"].as_str() {
            Some(uri) => self.uri(uri),
            None => self.slice(&self.json["bufferViews"][image["bufferView"].as_u64().unwrap() as usize]),
        };
        self.json["images"].as_array().into_iter().flatten().map(of).collect()
    }

    /// The JSON without what says where bytes are, as text, so that the order of keys counts.
    pub fn rest(&self, views: usize) -> String {
        let mut json = self.json.clone();
        json.as_object_mut().unwrap().shift_remove("buffers");
        for image in json["images"].as_array_mut().into_iter().flatten() {
            for name in ["uri", "bufferView", "mimeType"] {
                image.as_object_mut().unwrap().shift_remove(name);
            }
        }
        if views == 0 {
            // What list there is holds images.
            json.as_object_mut().unwrap().shift_remove("bufferViews");
        }
        if let Some(list) = json.get_mut("bufferViews").and_then(Value::as_array_mut) {
            list.truncate(views);
            for view in list {
                for name in ["buffer", "byteOffset"] {
                    view.as_object_mut().unwrap().shift_remove(name);
                }
            }
        }
        json.to_string()
    }
}

/// A glb of a JSON and its bytes.
pub fn glb(json: &Value, bin: &[u8]) -> Vec<u8> {
    let mut text = json.to_string().into_bytes();
    text.resize(text.len().next_multiple_of(4), b' ');
    let mut bin = bin.to_vec();
    bin.resize(bin.len().next_multiple_of(4), 0);
    let mut chunks = Vec::new();
    for (kind, content) in [(b"JSON", &text), (b"BIN\0", &bin)] {
        if !content.is_empty() {
            chunks.extend((content.len() as u32).to_le_bytes());
            chunks.extend(kind);
            chunks.extend(content);
        }
    }
    let mut file = b"glTF\x02\0\0\0".to_vec();
    file.extend((chunks.len() as u32 + 12).to_le_bytes());
    file.extend(chunks);
    file
}
