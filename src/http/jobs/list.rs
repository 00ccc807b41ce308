//! `GET /v1/jobs`: the client's own jobs, page by page.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use axum::http::Extensions;
use axum::response::{IntoResponse, Response};
use schemars::JsonSchema;
use serde::Serialize;
use uuid::Uuid;

use super::document::Document;
use super::errors;
use crate::http::convert::query::{Parameters, cut};
use crate::http::middleware;
use crate::http::problem::Problem;
use crate::http::state::Shared;
use crate::jobs;

pub const DEFAULT_PAGE: usize = 20;
pub const MAX_PAGE: usize = 100;

/// Jobs of the client, newest first.
#[derive(Debug, Serialize, JsonSchema)]
#[schemars(rename = "JobList")]
pub struct Listing<'a> {
    jobs: Vec<Document<'a>>,
    /// The `page_token` of the next page; absent if this is the last one.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(with = "Option<String>")]
    next_page_token: Option<Uuid>,
}

/// A page of the list.
#[derive(Debug, PartialEq, Eq)]
struct PageQuery {
    state: Option<jobs::State>,
    size: usize,
    /// The last job of the page before.
    before: Option<Uuid>,
}

/// List jobs
///
/// The jobs of the client, newest first: those of its API key, or without keys those from its address. Each is as in
/// `GET /v1/jobs/{id}`, but without its report and position, and with 20 files of its model at most.
#[utoipa::path(get, path = "/v1/jobs", tag = "jobs")]
pub async fn list_jobs(
    State(gateway): State<Shared>,
    query: Result<Query<Parameters>, QueryRejection>,
    extensions: Extensions,
) -> Result<Response, Problem> {
    let Query(parameters) = query.map_err(|_| Problem::malformed("the query cannot be read"))?;
    let PageQuery { state, size, before } = PageQuery::read(parameters)?;
    let client = middleware::client(&extensions).unwrap_or_default();
    let page = gateway.jobs.queue().list(&client, state, before, size).await;
    let page = page.map_err(|error| errors::unavailable(&error))?;
    // Jobs of synchronous requests are not the client's; a page with some has fewer others.
    let jobs = page.jobs.iter().filter(|job| !job.spec.is_of_request()).map(Document::in_list).collect();
    Ok(Json(Listing { jobs, next_page_token: page.next }).into_response())
}

impl PageQuery {
    fn read(parameters: Parameters) -> Result<Self, Problem> {
        let (mut state, mut size, mut before) = (None, None, None);
        // HTML forms also send empty fields.
        for (name, value) in parameters.into_iter().filter(|(_, value)| !value.is_empty()) {
            let known = match name.as_str() {
                "state" => &mut state,
                "page_size" => &mut size,
                "page_token" => &mut before,
                _ => return Err(Problem::malformed(format!("unknown parameter {:?}", cut(&name)))),
            };
            if known.replace(value).is_some() {
                return Err(Problem::malformed(format!("the query repeats {name}")));
            }
        }
        let state = state.map(|word| jobs::State::from_word(&word).ok_or_else(wrong_state)).transpose()?;
        let size = size.map(|size| page_size(&size).ok_or_else(wrong_size)).transpose()?;
        let before = before.map(|token| page_token(&token).ok_or_else(wrong_token)).transpose()?;
        Ok(Self { state, size: size.unwrap_or(DEFAULT_PAGE), before })
    }
}

fn page_size(text: &str) -> Option<usize> {
    text.parse().ok().filter(|size| (1..=MAX_PAGE).contains(size))
}

/// Parses the one spelling of an ID that Meshgate writes.
fn page_token(text: &str) -> Option<Uuid> {
    Uuid::try_parse(text).ok().filter(|id| id.to_string() == text)
}

fn wrong_state() -> Problem {
    let words: Vec<_> = jobs::State::ALL.into_iter().map(jobs::State::word).collect();
    Problem::malformed(format!("state takes {}", words.join("|")))
}

fn wrong_size() -> Problem {
    Problem::malformed(format!("page_size takes a number from 1 to {MAX_PAGE}"))
}

fn wrong_token() -> Problem {
    Problem::malformed("page_token takes the next_page_token of the page before")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::ErrorCode;

    fn read(query: &str) -> Result<PageQuery, ErrorCode> {
        let uri = format!("/v1/jobs?{query}").parse().unwrap();
        let Query(parameters) = Query::try_from_uri(&uri).unwrap();
        PageQuery::read(parameters).map_err(|problem| problem.error.code)
    }

    #[test]
    fn pages_are_read_from_the_query() {
        let first = PageQuery { state: None, size: DEFAULT_PAGE, before: None };
        assert_eq!(read(""), Ok(first));
        let id = Uuid::now_v7();
        let second = PageQuery { state: Some(jobs::State::Failed), size: 100, before: Some(id) };
        assert_eq!(read(&format!("state=failed&page_size=100&page_token={id}")), Ok(second));
    }

    #[test]
    fn wrong_pages_are_malformed() {
        for query in [
            "state=done",
            "state=Failed",
            "page_size=0",
            "page_size=101",
            "page_size=-1",
            "page_size=ten",
            "page_token=1",
            "page_token=01975d3c-0000-7000-8000-00000000000g",
            "state=failed&state=failed",
            "page=2",
        ] {
            assert_eq!(read(query), Err(ErrorCode::MalformedRequest), "{query}");
        }
    }
}
