//! What the documents say about responses.

use std::collections::BTreeSet;

use meshgate::domain::ErrorCode;
use serde_json::Value;

use super::{Listed, answer};

const DOCUMENT: &str = include_str!("../../../../docs/openapi.json");

/// All answers in the document.
pub fn listed() -> BTreeSet<Listed> {
    let document: Value = serde_json::from_str(DOCUMENT).unwrap();
    let mut all = BTreeSet::new();
    for (path, calls) in document["paths"].as_object().unwrap() {
        for (method, call) in calls.as_object().unwrap() {
            for (status, response) in call["responses"].as_object().unwrap() {
                let (method, status) = (method.to_uppercase(), status.parse().unwrap());
                let problem = &response["content"]["application/problem+json"]["schema"];
                match problem["properties"]["code"]["enum"].as_array() {
                    Some(codes) => {
                        all.extend(
                            codes.iter().map(|code| answer(&method, path, status, code.as_str().unwrap())),
                        );
                    }
                    None => drop(all.insert(answer(&method, path, status, ""))),
                }
            }
        }
    }
    assert!(all.len() > 50, "{all:#?}");
    all
}

/// All error codes of the type.
pub fn codes() -> BTreeSet<String> {
    let schema = schemars::schema_for!(ErrorCode).to_value();
    let variants = schema["oneOf"].as_array().unwrap();
    variants.iter().map(|variant| variant["const"].as_str().unwrap().to_owned()).collect()
}
