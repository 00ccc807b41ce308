//! Lenient parser of header parameters: `form-data; name="file"; filename="猫.fbx"`.

use encoding_rs::Encoding;
use percent_encoding::percent_decode;

use crate::fs::names;

/// The parameters of a header value.
pub struct Parameters(Vec<(String, Vec<u8>)>);

impl Parameters {
    /// Parses the parameters after the first `;`.
    pub fn of(value: &[u8]) -> Self {
        let mut found = Vec::new();
        let mut rest = after(value, b';');
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| matches!(byte, b'=' | b';')).unwrap_or(rest.len());
            let (name, tail) = rest.split_at(end);
            let name = String::from_utf8_lossy(name).trim().to_ascii_lowercase();
            let (content, tail) = match tail {
                [b'=', tail @ ..] => content(tail.trim_ascii_start()),
                _ => (Vec::new(), tail),
            };
            if !name.is_empty() {
                found.push((name, content));
            }
            rest = after(tail, b';');
        }
        Self(found)
    }

    pub fn get(&self, name: &str) -> Option<&[u8]> {
        self.0.iter().find(|(each, _)| each == name).map(|(_, content)| content.as_slice())
    }

    /// Returns the file name, from `filename*` if possible; `None` if the part is not a file.
    pub fn file_name(&self) -> Option<String> {
        if let Some(name) = self.get("filename*").and_then(extended) {
            return Some(name);
        }
        let name = names::decode(self.get("filename")?).replace("%22", "\"");
        // Browsers encode quotes and line breaks of a name so, but not `%` itself.
        Some(["%0D", "%0d", "%0A", "%0a"].iter().fold(name, |name, code| name.replace(code, "\n")))
    }
}

/// Returns the bytes after the first `byte`.
fn after(text: &[u8], byte: u8) -> &[u8] {
    text.splitn(2, |each| *each == byte).nth(1).unwrap_or_default()
}

/// Parses a value, quoted or not; returns it and the rest.
fn content(text: &[u8]) -> (Vec<u8>, &[u8]) {
    let Some(mut rest) = text.strip_prefix(b"\"") else {
        let (content, tail) = text.split_at(text.iter().position(|byte| *byte == b';').unwrap_or(text.len()));
        return (content.trim_ascii_end().to_vec(), tail);
    };
    let mut content = Vec::new();
    loop {
        let (byte, tail) = match rest {
            // Browsers do not escape the backslashes of `C:\a.fbx`, so `\` escapes only these two.
            [b'\\', escaped @ (b'"' | b'\\'), tail @ ..] => (escaped, tail),
            [b'"', tail @ ..] => return (content, tail),
            [byte, tail @ ..] => (byte, tail),
            [] => return (content, rest),
        };
        content.push(*byte);
        rest = tail;
    }
}

/// Decodes a value of RFC 8187: `UTF-8'ja'%E7%8C%AB.fbx`
fn extended(value: &[u8]) -> Option<String> {
    let mut parts = value.splitn(3, |byte| *byte == b'\'');
    let (encoding, _language, name) = (parts.next()?, parts.next()?, parts.next()?);
    let name: Vec<u8> = percent_decode(name).collect();
    let text = Encoding::for_label(encoding)?.decode_without_bom_handling_and_without_replacement(&name)?;
    Some(text.into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(header: &str) -> Option<String> {
        Parameters::of(header.as_bytes()).file_name()
    }

    #[test]
    fn parameters_are_separated() {
        let read = Parameters::of(b"form-data; Name = file ; filename=\"a; name=b.fbx\"; x");
        assert_eq!(read.get("name"), Some(b"file".as_slice()));
        assert_eq!(read.get("filename"), Some(b"a; name=b.fbx".as_slice()));
        assert_eq!(read.get("x"), Some(b"".as_slice()));
        assert_eq!(
            Parameters::of(b"multipart/form-data; boundary=a=b_?c").get("boundary"),
            Some(&b"a=b_?c"[..])
        );
        for broken in ["", ";", ";;;=", "a;\"", "a; filename=\"", "a; filename=\"\\"] {
            Parameters::of(broken.as_bytes());
        }
    }

    #[test]
    fn file_names_of_all_senders_are_decoded() {
        assert_eq!(name("form-data; filename=\"猫.fbx\"").unwrap(), "猫.fbx");
        assert_eq!(name("form-data; filename=plain.fbx; name=file").unwrap(), "plain.fbx");
        assert_eq!(name("form-data; filename=\"a%22b%0D%0A100%25.fbx\"").unwrap(), "a\"b\n\n100%25.fbx");
        assert_eq!(name(r#"form-data; filename="say \"hi\".fbx""#).unwrap(), "say \"hi\".fbx");
        assert_eq!(name(r#"form-data; filename="C:\a\b.fbx""#).unwrap(), r"C:\a\b.fbx");
        assert_eq!(name(r#"form-data; filename="C:\\a\\b.fbx""#).unwrap(), r"C:\a\b.fbx");
        assert_eq!(name("x; filename=\"_.fbx\"; filename*=UTF-8''%E7%8C%AB.fbx").unwrap(), "猫.fbx");
        assert_eq!(name("x; filename*=iso-8859-1'en'caf%E9.fbx").unwrap(), "café.fbx");
        assert_eq!(name("x; filename=\"a.fbx\"; filename*=UTF-8''%FF").unwrap(), "a.fbx");
        let latin = Parameters::of(b"x; filename=\"caf\xe9.fbx\"");
        assert_eq!(latin.file_name().unwrap(), "café.fbx");
        assert_eq!(name("form-data; name=file"), None);
        assert_eq!(name("form-data; filename=\"\"").unwrap(), "");
    }
}
