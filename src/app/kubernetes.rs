//! Connects to the cluster in which heavy jobs run.

use std::fs;
use std::path::Path;
use std::time::Duration;

use k8s_openapi::api::core::v1::PodTemplateSpec;
use tokio::time::timeout;

use crate::config;
use crate::executor::kubernetes::{INSTANCE_LABEL, Kubernetes, NAME_LABEL, Settings, read_template};

/// The file with the namespace of a pod that has a service account.
const NAMESPACE: &str = "/var/run/secrets/kubernetes.io/serviceaccount/namespace";

/// How long the search for the Deployment of this process may take. Without it, Kubernetes Jobs have no owner.
const OWNER_WITHIN: Duration = Duration::from_secs(10);

/// Prepares requests to the API server. `conversion`: the time limit of one conversion.
///
/// # Errors
/// A sentence, when the pod template cannot be used, or nothing names a cluster.
pub async fn connect(config: &config::Kubernetes, conversion: Duration) -> Result<Kubernetes, String> {
    let settings = settings(config, conversion)?;
    let kubernetes = Kubernetes::connect(settings).await.map_err(|error| error.to_string())?;
    let Some(pod) = &config.pod else { return Ok(kubernetes) };
    let error = match timeout(OWNER_WITHIN, kubernetes.clone().owned_by_controller_of(pod)).await {
        Ok(Ok(owned)) => return Ok(owned),
        Ok(Err(error)) => error.to_string(),
        Err(_) => "the API server does not answer".to_owned(),
    };
    tracing::warn!(
        pod,
        error,
        "the Kubernetes Jobs of this process have no owner, and stay if it is uninstalled"
    );
    Ok(kubernetes)
}

/// Reads the pod template and the namespace.
fn settings(config: &config::Kubernetes, conversion: Duration) -> Result<Settings, String> {
    let template = template(config.template.as_deref())?;
    let own = || fs::read_to_string(NAMESPACE).ok().map(|text| text.trim().to_owned());
    let namespace = config.namespace.clone().or_else(own).ok_or_else(|| {
        "no namespace for Kubernetes Jobs: set POD_NAMESPACE, or give this pod a service account".to_owned()
    })?;
    // The chart labels the template like everything else.
    let mut labels = template.metadata.as_ref().and_then(|about| about.labels.clone()).unwrap_or_default();
    labels.entry(NAME_LABEL.to_owned()).or_insert_with(|| "meshgate".to_owned());
    labels.entry(INSTANCE_LABEL.to_owned()).or_insert_with(|| config.prefix.clone());
    Ok(Settings {
        namespace,
        prefix: config.prefix.clone(),
        labels,
        template,
        owner: None,
        deadline: config.deadline(conversion),
        ttl_after_finished: config.ttl,
        queue_name: config.queue.clone(),
        pending_timeout: config.pending_timeout,
        max_in_flight: config.max_jobs,
    })
}

fn template(path: Option<&Path>) -> Result<PodTemplateSpec, String> {
    let path = path.ok_or("KUBERNETES_JOB_TEMPLATE is not set")?;
    let json = fs::read_to_string(path).map_err(|error| {
        format!("could not read the pod template in {} (KUBERNETES_JOB_TEMPLATE): {error}", path.display())
    })?;
    read_template(&json).map_err(|error| error.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    const TEMPLATE: &str = r#"{
        "metadata": {"labels": {"app.kubernetes.io/instance": "shop", "team": "a"}},
        "spec": {"containers": [{"name": "meshgate", "image": "meshgate:1"}]}
    }"#;

    /// The settings with this pod template.
    fn read(template: Option<&str>, namespace: Option<&str>) -> Result<Settings, String> {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("pod.json");
        if let Some(text) = template {
            fs::write(&path, text).unwrap();
        }
        let config = Config::load(&Sources::default()).unwrap().kubernetes;
        let namespace = namespace.map(str::to_owned);
        let config = config::Kubernetes { template: Some(path), namespace, ..config };
        settings(&config, Duration::from_mins(10))
    }

    #[test]
    fn settings_reach_the_cluster() {
        let found = read(Some(TEMPLATE), Some("heavy")).unwrap();
        assert_eq!((found.namespace.as_str(), found.prefix.as_str()), ("heavy", "meshgate"));
        assert_eq!((found.max_in_flight, found.pending_timeout), (20, Duration::from_mins(10)));
        assert_eq!(
            (found.deadline, found.ttl_after_finished),
            (Duration::from_mins(40), Duration::from_hours(1))
        );
        let labels: Vec<(&str, &str)> =
            found.labels.iter().map(|(name, value)| (name.as_str(), value.as_str())).collect();
        assert_eq!(labels, [(INSTANCE_LABEL, "shop"), (NAME_LABEL, "meshgate"), ("team", "a")]);
    }

    #[test]
    fn a_template_that_cannot_be_used_is_an_error() {
        let missing = read(None, Some("heavy")).unwrap_err();
        assert!(missing.contains("KUBERNETES_JOB_TEMPLATE") && missing.contains("pod.json"), "{missing}");
        assert!(read(Some("{}"), Some("heavy")).is_err());
    }
}
