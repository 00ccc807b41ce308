//! Problems with references: those that the report lists, and those that end the conversion.

use crate::domain::{ConversionError, ErrorCode};

/// Most missing textures and warnings that are listed.
const MAX_LISTED: usize = 100;

/// The error of more or longer paths than any model needs.
pub const TOO_MANY: &str = "the model refers to other files too often, or by paths that are too long";

pub fn too_large(detail: &str) -> ConversionError {
    ConversionError::new(ErrorCode::TooLarge, detail)
}

/// Problems with references, for the report.
#[derive(Debug, Default)]
pub struct Findings {
    pub missing_textures: Vec<String>,
    pub warnings: Vec<String>,
}

impl Findings {
    pub fn missing_texture(&mut self, reference: &str) {
        let name: String = reference.chars().filter(|c| !c.is_control()).take(200).collect();
        add_bounded(&mut self.missing_textures, name);
    }

    pub fn warn(&mut self, warning: String) {
        add_bounded(&mut self.warnings, warning);
    }
}

/// Adds a text that is new, up to [`MAX_LISTED`].
fn add_bounded(texts: &mut Vec<String>, text: String) {
    if texts.len() < MAX_LISTED && !texts.contains(&text) {
        texts.push(text);
    }
}
