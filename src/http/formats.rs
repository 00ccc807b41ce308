//! `GET /v1/formats`: formats with their targets, options and limits.

use axum::Json;
use axum::extract::State;
use schemars::JsonSchema;
use serde::Serialize;

use super::state::Shared;
use crate::domain::Format;
use crate::domain::format::{Feature, TABLE};
use crate::domain::options::{self, Kind};

#[derive(Debug, Serialize, JsonSchema)]
pub struct Listing {
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
    /// Formats that this format can be converted to.
    to: Vec<Format>,
}

#[derive(Debug, Serialize, JsonSchema)]
struct OptionEntry {
    name: &'static str,
    #[serde(flatten)]
    kind: Kind,
    /// The default value, as a boolean, number or string.
    default: serde_json::Value,
    help: &'static str,
}

#[derive(Debug, Serialize, JsonSchema)]
struct Limits {
    /// Largest request body, in bytes.
    max_file_size: u64,
    /// Largest total of unfinished uploads, in bytes; one client may use as much as it leaves free.
    max_uploads_size: u64,
    /// Largest unpacked model, in bytes.
    max_unpacked_size: u64,
    /// Most files of one model.
    max_files: usize,
    conversion_timeout_seconds: f64,
}

/// List formats, options and limits
///
/// Each format lists the formats that it can be converted to.
#[utoipa::path(get, path = "/v1/formats", tag = "conversion")]
pub async fn formats(State(gateway): State<Shared>) -> Json<Listing> {
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
                .filter(|to| info.format.unsupported_reason(*to).is_none())
                .collect(),
        })
        .collect();
    let options = options::TABLE
        .iter()
        .map(|info| OptionEntry {
            name: info.name,
            kind: info.kind,
            default: info.default(),
            help: info.help,
        })
        .collect();
    let limits = Limits {
        max_file_size: gateway.settings.max_file_size,
        max_uploads_size: gateway.uploads.most,
        max_unpacked_size: gateway.service.converter().limits().max_unpacked,
        max_files: gateway.service.converter().limits().max_entries,
        conversion_timeout_seconds: gateway.settings.timeout.as_secs_f64(),
    };
    Json(Listing { formats, options, limits })
}
