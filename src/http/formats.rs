//! `GET /v1/formats`: what goes to what, with which options, within which limits.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::state::Shared;
use crate::domain::format::{Feature, TABLE};
use crate::domain::{Format, options};

#[derive(Debug, Serialize, JsonSchema)]
#[allow(clippy::struct_field_names)]
pub struct Formats {
    formats: Vec<FormatEntry>,
    options: Vec<OptionEntry>,
    limits: Limits,
}

#[derive(Debug, Serialize, JsonSchema)]
struct FormatEntry {
    name: &'static str,
    title: &'static str,
    media_type: &'static str,
    extensions: &'static [&'static str],
    holds: &'static [Feature],
    /// What a file of this format can be converted to.
    to: Vec<Format>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct OptionEntry {
    name: &'static str,
    values: &'static str,
    default: &'static str,
    help: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Limits {
    max_file_size: u64,
    conversion_timeout_seconds: f64,
}

/// What goes to what
///
/// Formats with their targets, options, and limits.
#[utoipa::path(get, path = "/v1/formats", tag = "conversion")]
pub async fn formats(State(gateway): State<Shared>) -> Json<Formats> {
    let formats = TABLE
        .iter()
        .map(|info| FormatEntry {
            name: info.name,
            title: info.title,
            media_type: info.media_type,
            extensions: info.extensions,
            holds: info.holds,
            to: TABLE
                .iter()
                .map(|info| info.format)
                .filter(|to| info.format.refusal(*to).is_none())
                .collect(),
        })
        .collect();
    let options = options::TABLE
        .iter()
        .map(|info| OptionEntry {
            name: info.name,
            values: info.values,
            default: info.default,
            help: info.help,
        })
        .collect();
    let limits = Limits {
        max_file_size: gateway.settings.max_file_size,
        conversion_timeout_seconds: gateway.settings.timeout.as_secs_f64(),
    };
    Json(Formats { formats, options, limits })
}
