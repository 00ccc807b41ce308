//! The ID of a job as an argument.

use uuid::Uuid;

/// # Errors
/// A sentence, when the text is no ID.
pub fn job_id(text: &str) -> Result<Uuid, String> {
    text.parse().map_err(|_| format!("{text} is not the ID of a job"))
}
