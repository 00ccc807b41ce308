//! The settings of Kubernetes Jobs as plain data, and the names that follow from them.

use std::collections::BTreeMap;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference;
use uuid::Uuid;

use super::error::Error;

/// The container of a pod in which the conversion runs.
pub const CONTAINER: &str = "meshgate";

/// The label with the ID of the job, on Kubernetes Jobs and their pods.
pub const JOB_LABEL: &str = "meshgate.dev/job";

/// The label that tells Jobs and their pods from servers and workers, and its value.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";
pub const COMPONENT: &str = "job";

/// Labels that tell the Jobs of this release from others. Unlike other labels, an upgrade does not change them.
pub const NAME_LABEL: &str = "app.kubernetes.io/name";
pub const INSTANCE_LABEL: &str = "app.kubernetes.io/instance";

/// Longest prefix of a name, so that it and a UUID fit into a label.
const MAX_PREFIX: usize = 30;

/// How Kubernetes Jobs are made and followed.
#[derive(Debug, Clone, PartialEq)]
pub struct Settings {
    pub namespace: String,
    /// The beginning of the names of Jobs; cut after 30 characters.
    pub prefix: String,
    /// For Jobs and pods.
    pub labels: BTreeMap<String, String>,
    /// See [`read_template`].
    pub template: PodTemplateSpec,
    /// The object that Jobs are removed with, such as the Deployment of the workers.
    pub owner: Option<OwnerReference>,
    /// The longest life of a Job. The wait for a node counts, so that it has to be longer than `pending_timeout` and
    /// the time limit of a conversion together.
    pub deadline: Duration,
    /// How long a finished Job is kept for people to look at.
    pub ttl_after_finished: Duration,
    /// The queue of Kueue that admits Jobs.
    pub queue_name: Option<String>,
    /// How long a Job may wait for room in the cluster.
    pub pending_timeout: Duration,
    /// Most unfinished Jobs.
    pub max_in_flight: usize,
}

impl Settings {
    /// The name of the Kubernetes Job of a job: always the same, so that creating it twice does no harm.
    pub fn job_name(&self, job: Uuid) -> String {
        let prefix: String = self.prefix.chars().take(MAX_PREFIX).collect();
        format!("{}-{}", prefix.trim_end_matches('-'), job.simple())
    }

    /// The label selector of this release's Jobs and their pods.
    pub fn selector(&self) -> String {
        let release = [NAME_LABEL, INSTANCE_LABEL].into_iter().filter_map(|label| {
            let value = self.labels.get(label)?;
            Some(format!("{label}={value},"))
        });
        format!("{}{COMPONENT_LABEL}={COMPONENT},{JOB_LABEL}", release.collect::<String>())
    }
}

/// Reads a pod template, as in a Deployment, from JSON. The container named `meshgate`, or else the first one, runs the
/// conversion.
///
/// # Errors
/// When it is not a pod template, or has no container with an image.
pub fn read_template(json: &str) -> Result<PodTemplateSpec, Error> {
    let template: PodTemplateSpec =
        serde_json::from_str(json).map_err(|error| Error::template(&error.to_string()))?;
    let spec = template.spec.as_ref().ok_or_else(|| Error::template("it has no spec"))?;
    let container = container_index(spec.containers.iter().map(|container| container.name.as_str()))
        .and_then(|index| spec.containers.get(index))
        .ok_or_else(|| Error::template("it has no containers"))?;
    if container.image.as_deref().unwrap_or_default().is_empty() {
        return Err(Error::template(&format!("its container {:?} has no image", container.name)));
    }
    Ok(template)
}

/// Finds the container of the conversion among these; `None` if there are none.
pub fn container_index<'a>(names: impl IntoIterator<Item = &'a str>) -> Option<usize> {
    let mut names = names.into_iter().peekable();
    names.peek()?;
    Some(names.position(|name| name == CONTAINER).unwrap_or(0))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::executor::kubernetes::tests::samples::settings;

    #[test]
    fn names_fit_into_labels() {
        let job = Uuid::from_u128(7);
        assert_eq!(settings().job_name(job), format!("meshgate-{}", job.simple()));
        let long = Settings { prefix: "a-name-of-thirty-characters-x-and-more".into(), ..settings() };
        let name = long.job_name(job);
        assert_eq!(name.len(), 29 + 33, "the hyphen before the cut is dropped: {name}");
        assert!(name.starts_with("a-name-of-thirty-characters-x-") && !name.contains("--"), "{name}");
    }

    #[test]
    fn the_selector_does_not_change_with_an_upgrade() {
        let mut settings = settings();
        let before = settings.selector();
        settings.labels.insert("helm.sh/chart".into(), "meshgate-9.9.9".into());
        assert_eq!(settings.selector(), before);
        assert_eq!(
            before,
            "app.kubernetes.io/name=meshgate,app.kubernetes.io/instance=shop,app.kubernetes.io/component=job,\
             meshgate.dev/job"
        );
    }

    #[test]
    fn a_template_needs_a_container_with_an_image() {
        let said = |json| read_template(json).unwrap_err().to_string();
        assert!(said("{").contains("pod template"), "{}", said("{"));
        for (json, reason) in [
            ("{}", "it has no spec"),
            (r#"{"spec":{"containers":[]}}"#, "it has no containers"),
            (r#"{"spec":{"containers":[{"name":"a"}]}}"#, r#"its container "a" has no image"#),
        ] {
            assert!(said(json).ends_with(reason), "{}", said(json));
        }
        let good = r#"{"spec":{"containers":[{"name":"proxy"},{"name":"meshgate","image":"m:1"}]}}"#;
        assert_eq!(read_template(good).unwrap().spec.unwrap().containers.len(), 2);
    }
}
