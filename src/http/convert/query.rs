//! The query of a conversion request.

use std::collections::HashSet;

use axum::extract::Query;
use axum::extract::rejection::QueryRejection;

use crate::domain::{ErrorCode, Format, Options};
use crate::http::problem::Problem;
use crate::jobs::ExecutorChoice;

/// Longest quotation of a client's text in an error, in bytes.
const MAX_ECHO: usize = 80;

const OUTPUT_FORMAT: &str = "output_format";
const FILE_NAME: &str = "filename";
const MAIN: &str = "main";
const EXECUTOR: &str = "executor";
const OWN: [&str; 4] = [OUTPUT_FORMAT, FILE_NAME, MAIN, EXECUTOR];

/// The query parameters in their order.
pub type Parameters = Vec<(String, String)>;

#[derive(Debug)]
pub struct ConvertQuery {
    pub target: Format,
    pub options: Options,
    /// The file name of a raw body.
    pub file_name: Option<String>,
    /// The name of the main file among several.
    pub main: Option<String>,
    /// Where it should run.
    pub executor: Option<ExecutorChoice>,
}

impl ConvertQuery {
    /// Parses the query.
    ///
    /// # Errors
    /// `malformed_request`, `no_output_format`, `unsupported_output_format`, `unknown_option`, `invalid_option`.
    pub fn read(query: Result<Query<Parameters>, QueryRejection>) -> Result<Self, Problem> {
        Self::read_with(query, []).map(|(read, [])| read)
    }

    /// Parses the query of an operation that has more parameters than a conversion. Returns the values of those, in the
    /// order of `others`.
    ///
    /// # Errors
    /// As for [`read`](Self::read).
    pub fn read_with<const N: usize>(
        query: Result<Query<Parameters>, QueryRejection>,
        others: [&str; N],
    ) -> Result<(Self, [Option<String>; N]), Problem> {
        let Query(parameters) = query.map_err(|_| Problem::malformed("the query cannot be read"))?;
        let (target, options) = (Format::Glb, Options::default());
        let mut read = Self { target, options, file_name: None, main: None, executor: None };
        let mut values = [const { None }; N];
        let mut target = None;
        let mut seen = HashSet::new();
        for (name, value) in parameters {
            let other = others.iter().zip(&mut values).find(|(other, _)| **other == name);
            // HTML forms also send empty fields.
            let is_known = OWN.contains(&name.as_str()) || other.is_some() || Options::exists(&name);
            if value.is_empty() && is_known {
                continue;
            }
            match name.as_str() {
                OUTPUT_FORMAT => target = Some(value),
                FILE_NAME => read.file_name = Some(value),
                MAIN => read.main = Some(value),
                EXECUTOR => read.executor = Some(parse_executor(&value)?),
                _ => match other {
                    Some((_, other)) => *other = Some(value),
                    None => read.options.set(cut(&name), cut(&value))?,
                },
            }
            if let Some(twice) = seen.replace(name) {
                return Err(Problem::malformed(format!("the query repeats {twice}")));
            }
        }
        let Some(target) = target else {
            let detail = "output_format query parameter is required";
            return Err(Problem::new(ErrorCode::NoOutputFormat, detail));
        };
        let lower = target.trim().trim_start_matches('.').to_ascii_lowercase();
        read.target = Format::from_extension(&lower).ok_or_else(|| {
            let detail = format!("Unsupported output format: {}", cut(&target));
            Problem::new(ErrorCode::UnsupportedOutputFormat, detail)
        })?;
        read.options.check(read.target)?;
        Ok((read, values))
    }
}

fn parse_executor(text: &str) -> Result<ExecutorChoice, Problem> {
    let wrong = || Problem::malformed(format!("executor takes kubernetes|local, not {:?}", cut(text)));
    ExecutorChoice::from_word(text).ok_or_else(wrong)
}

/// Truncates a client's text for an error.
pub fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(MAX_ECHO)).unwrap_or(text)
}
