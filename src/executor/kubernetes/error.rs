//! Errors of Kubernetes, each one sentence that tells operators what to do.

use std::fmt;
use std::time::Duration;

use kube::core::Status;

use crate::causes;

/// Why Kubernetes did not do what it was asked for.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{detail}")]
pub struct Error {
    pub trouble: Trouble,
    /// One sentence for operators.
    pub detail: String,
    /// How long the API server asks to wait.
    pub retry_after: Option<Duration>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// No cluster is configured, or the pod template is wrong.
    Setup,
    /// The API server does not answer, or too late.
    Unreachable,
    /// The API server does not accept the token.
    Unauthorized,
    /// No Role allows it, or a rule of the cluster forbids it.
    Forbidden,
    /// A quota of the namespace is used up.
    Quota,
    /// The object or its namespace does not exist.
    NotFound,
    /// Another object has the name.
    AlreadyExists,
    /// The object, or one that it depends on, was changed at the same time.
    Conflict,
    /// The object is not valid.
    Invalid,
    /// The API server is overloaded or failing.
    Busy,
    /// An earlier object with the same name is still being deleted.
    Deleting,
}

impl Trouble {
    /// The value of a metric's label.
    pub const fn word(self) -> &'static str {
        match self {
            Trouble::Setup => "setup",
            Trouble::Unreachable => "unreachable",
            Trouble::Unauthorized => "unauthorized",
            Trouble::Forbidden => "forbidden",
            Trouble::Quota => "quota",
            Trouble::NotFound => "not_found",
            Trouble::AlreadyExists => "already_exists",
            Trouble::Conflict => "conflict",
            Trouble::Invalid => "invalid",
            Trouble::Busy => "busy",
            Trouble::Deleting => "deleting",
        }
    }
}

/// What was asked for, in the words of RBAC.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Action {
    pub verb: &'static str,
    pub resource: &'static str,
}

impl fmt::Display for Action {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.verb, self.resource)
    }
}

impl Error {
    fn new(trouble: Trouble, detail: impl Into<String>) -> Self {
        Self { trouble, detail: detail.into(), retry_after: None }
    }

    /// Whether a later try would fail alike, as long as nobody changes the set-up.
    pub fn is_lasting(&self) -> bool {
        match self.trouble {
            Trouble::Setup
            | Trouble::Forbidden
            | Trouble::NotFound
            | Trouble::AlreadyExists
            | Trouble::Invalid => true,
            Trouble::Unreachable
            | Trouble::Unauthorized
            | Trouble::Quota
            | Trouble::Conflict
            | Trouble::Busy
            | Trouble::Deleting => false,
        }
    }

    /// Whether the cluster has no room for another Job. Waiting may help.
    pub fn is_no_capacity(&self) -> bool {
        self.trouble == Trouble::Quota
    }

    /// Whether the same request may succeed a moment later.
    pub(super) fn is_passing(&self) -> bool {
        matches!(self.trouble, Trouble::Unreachable | Trouble::Busy)
    }

    /// Neither the environment of a pod nor a kubeconfig names a cluster.
    pub(super) fn no_cluster(reason: &impl fmt::Display) -> Self {
        let detail = format!("no cluster is configured: run it in a pod, or set KUBECONFIG ({reason})");
        Self::new(Trouble::Setup, detail)
    }

    /// The process runs in a pod, but has no token.
    pub(super) fn no_token(reason: &impl fmt::Display) -> Self {
        let detail = format!(
            "this pod has no token for the API server: set automountServiceAccountToken to true, and the \
             serviceAccountName to the one of the chart ({reason})"
        );
        Self::new(Trouble::Setup, detail)
    }

    pub(super) fn template(reason: &str) -> Self {
        Self::new(Trouble::Setup, format!("the pod template of Kubernetes Jobs cannot be used: {reason}"))
    }

    pub(super) fn late(limit: Duration) -> Self {
        let detail =
            format!("the API server of Kubernetes does not answer within {} seconds", limit.as_secs());
        Self::new(Trouble::Unreachable, detail)
    }

    pub(super) fn unreadable(action: Action, reason: &impl fmt::Display) -> Self {
        let detail =
            format!("could not {action}: the API server sent an answer that cannot be read: {reason}");
        Self::new(Trouble::Busy, detail)
    }

    pub(super) fn not_encoded(action: Action, reason: &impl fmt::Display) -> Self {
        Self::new(Trouble::Invalid, format!("could not {action}: {reason}"))
    }

    /// A Job has the name of ours, but not its label.
    pub(super) fn foreign(name: &str) -> Self {
        let detail = format!("the Job {name} exists and is not Meshgate's: delete it, or set another prefix");
        Self::new(Trouble::AlreadyExists, detail)
    }

    pub(super) fn still_deleting(name: &str) -> Self {
        Self::new(Trouble::Deleting, format!("the earlier Job {name} is still being deleted"))
    }

    /// The error of a request that got an answer.
    pub(super) fn of_answer(
        action: Action,
        namespace: &str,
        code: u16,
        body: &[u8],
        retry_after: Option<Duration>,
    ) -> Self {
        let status = serde_json::from_slice(body).unwrap_or_else(|_| {
            // Proxies, and the API server itself when it is overloaded, answer with plain text.
            let text = String::from_utf8_lossy(body.get(..MAX_TEXT).unwrap_or(body));
            Status::failure(text.trim(), "")
        });
        let asked = status.details.as_ref().map_or(0, |details| details.retry_after_seconds);
        let asked = (asked > 0).then(|| Duration::from_secs(asked.into()));
        let error = Self::of_status(action, namespace, code, &status);
        Self { retry_after: retry_after.or(asked), ..error }
    }

    /// The error of a request that the client library made.
    pub(super) fn of_client(action: Action, namespace: &str, error: &kube::Error) -> Self {
        match error {
            kube::Error::Api(status) => Self::of_status(action, namespace, status.code, status),
            kube::Error::Auth(error) => {
                let detail =
                    format!("could not {action}: the token for the API server cannot be read: {error}");
                Self::new(Trouble::Unauthorized, detail)
            }
            kube::Error::SerdeError(error) => Self::unreadable(action, error),
            error => {
                let cause = causes::innermost(error);
                let detail = format!("could not {action}: the API server cannot be reached: {cause}");
                Self::new(Trouble::Unreachable, detail)
            }
        }
    }

    fn of_status(action: Action, namespace: &str, code: u16, status: &Status) -> Self {
        let message = said(status);
        let new = |trouble, detail: String| Self::new(trouble, detail);
        match code {
            401 => new(
                Trouble::Unauthorized,
                format!(
                    "could not {action}: the API server does not accept the token of this process; is its service \
                     account still there?"
                ),
            ),
            403 if message.contains("exceeded quota") => new(
                Trouble::Quota,
                format!(
                    "could not {action}: the quota of the namespace {namespace} is used up; raise it, or lower the \
                     number or the size of Jobs ({message})"
                ),
            ),
            403 if message.contains(" cannot ") => new(
                Trouble::Forbidden,
                format!(
                    "could not {action} in the namespace {namespace}: no Role allows it; install the chart with \
                     Kubernetes Jobs on, or bind this service account to a Role with {action} in that namespace \
                     ({message})"
                ),
            ),
            403 => new(
                Trouble::Forbidden,
                format!("could not {action}: a rule of the cluster forbids it: {message}"),
            ),
            404 if is_namespace(status) => new(
                Trouble::NotFound,
                format!(
                    "could not {action}: there is no namespace {namespace}; set it to the one of this release"
                ),
            ),
            404 => new(Trouble::NotFound, format!("could not {action}: {message}")),
            409 if status.is_already_exists() => {
                new(Trouble::AlreadyExists, format!("could not {action}: {message}"))
            }
            409 => new(Trouble::Conflict, format!("could not {action}: {message}")),
            429 => new(Trouble::Busy, format!("could not {action}: the API server has too many requests")),
            500.. => new(
                Trouble::Busy,
                format!("could not {action}: the API server answers with {code}: {message}"),
            ),
            _ => new(
                Trouble::Invalid,
                format!("could not {action}: {message}; check the pod template and the sizes of Jobs"),
            ),
        }
    }
}

/// Longest text of an answer that is not a Status, in bytes.
const MAX_TEXT: usize = 500;

/// The server's own words, on one line.
fn said(status: &Status) -> String {
    let text = if status.message.is_empty() { &status.reason } else { &status.message };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    if text.is_empty() { "it did not say why".to_owned() } else { text }
}

fn is_namespace(status: &Status) -> bool {
    status.details.as_ref().is_some_and(|details| details.kind == "namespaces")
}
