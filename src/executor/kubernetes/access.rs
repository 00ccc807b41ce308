//! Asks the API server what this process may do.

use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SelfSubjectAccessReview, SelfSubjectAccessReviewSpec,
};

use super::client::ApiServer;
use super::error::Error;

/// What Jobs need: API group, resource, verbs. The Role of the chart allows exactly this.
pub const NEEDED: [(&str, &str, &[&str]); 3] = [
    ("batch", "jobs", &["create", "get", "list", "watch", "delete"]),
    ("", "pods", &["get", "list", "watch"]),
    ("", "events", &["list"]),
];

/// Whether this process may do one thing in its namespace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    pub verb: &'static str,
    pub resource: &'static str,
    pub allowed: bool,
    /// The API server's reason; may be empty.
    pub reason: String,
}

/// Asks about each verb that Jobs need.
pub async fn check(server: &ApiServer) -> Result<Vec<Access>, Error> {
    let mut found = Vec::new();
    for (group, resource, verbs) in NEEDED {
        for &verb in verbs {
            let review = server.review(&question(server, group, resource, verb)).await?;
            let status = review.status.unwrap_or_default();
            let reason = status.reason.or(status.evaluation_error).unwrap_or_default();
            found.push(Access { verb, resource, allowed: status.allowed, reason });
        }
    }
    Ok(found)
}

fn question(server: &ApiServer, group: &str, resource: &str, verb: &str) -> SelfSubjectAccessReview {
    let attributes = ResourceAttributes {
        namespace: Some(server.namespace.clone()),
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        verb: Some(verb.to_owned()),
        ..ResourceAttributes::default()
    };
    SelfSubjectAccessReview {
        spec: SelfSubjectAccessReviewSpec {
            resource_attributes: Some(attributes),
            ..SelfSubjectAccessReviewSpec::default()
        },
        ..SelfSubjectAccessReview::default()
    }
}
