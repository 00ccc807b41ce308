//! The settings of heavy jobs, which run as Kubernetes Jobs with memory of their own.

use std::path::PathBuf;
use std::time::Duration;

use super::jobs::Jobs;
use super::reader::Reader;
use super::settings;
use super::storage::{Location, Storage};
use super::types::KubernetesMode;

/// Which jobs become Kubernetes Jobs, and how.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kubernetes {
    pub mode: KubernetesMode,
    /// Least size of the model of a heavy job, in bytes.
    pub min_bytes: u64,
    /// The JSON file with the pod template.
    pub template: Option<PathBuf>,
    /// `None`: that of the pod's service account.
    pub namespace: Option<String>,
    /// What the names of Kubernetes Jobs begin with.
    pub prefix: String,
    /// The pod of this process. Kubernetes removes them with its Deployment.
    pub pod: Option<String>,
    /// Most unfinished ones.
    pub max_jobs: usize,
    /// How long one may wait for a place in the cluster.
    pub pending_timeout: Duration,
    /// How long one may take in all. `None`: as [`Kubernetes::deadline`] says.
    pub given_deadline: Option<Duration>,
    /// How long one is kept after its end.
    pub ttl: Duration,
    /// Least and most memory of a pod, in bytes.
    pub min_memory: u64,
    pub max_memory: u64,
    /// The local queue of Kueue.
    pub queue: Option<String>,
}

impl Kubernetes {
    pub fn read(reader: &mut Reader) -> Kubernetes {
        let min_memory = reader.read(&settings::KUBERNETES_JOB_MEMORY_MIN);
        let max_memory = reader.read(&settings::KUBERNETES_JOB_MEMORY_MAX);
        if min_memory > max_memory {
            reader.mistake("KUBERNETES_JOB_MEMORY_MIN is above KUBERNETES_JOB_MEMORY_MAX");
        }
        Kubernetes {
            mode: reader.read(&settings::KUBERNETES_JOBS),
            min_bytes: reader.read(&settings::KUBERNETES_JOB_MIN_SIZE),
            template: reader.given(&settings::KUBERNETES_JOB_TEMPLATE),
            namespace: reader.given(&settings::POD_NAMESPACE),
            prefix: reader.read(&settings::KUBERNETES_JOB_PREFIX),
            pod: reader.given(&settings::POD_NAME),
            max_jobs: reader.read(&settings::KUBERNETES_JOBS_MAX),
            pending_timeout: reader.read(&settings::KUBERNETES_JOB_PENDING_TIMEOUT),
            given_deadline: reader.given(&settings::KUBERNETES_JOB_DEADLINE),
            ttl: reader.read(&settings::KUBERNETES_JOB_TTL),
            min_memory,
            max_memory,
            queue: reader.given(&settings::KUBERNETES_JOB_QUEUE),
        }
    }

    pub fn is_on(&self) -> bool {
        self.mode != KubernetesMode::Off
    }

    /// How long a Kubernetes Job may take in all: by default, longer than the time to find a place, and the time limits of
    /// fetching the model, of the conversion and of storing its result together.
    pub fn deadline(&self, conversion: Duration) -> Duration {
        self.given_deadline.unwrap_or(self.pending_timeout + 3 * conversion)
    }

    /// Returns why other settings do not go with Kubernetes Jobs, a sentence each. `conversion`: its time limit.
    pub fn conflicts(&self, storage: &Storage, jobs: &Jobs, conversion: Duration) -> Vec<String> {
        if !self.is_on() {
            return Vec::new();
        }
        let is_local = !matches!(storage.location, Some(Location::Bucket(..)));
        let is_short = self.given_deadline.is_some_and(|deadline| deadline <= conversion);
        let conflicts = [
            (
                is_local,
                "KUBERNETES_JOBS is on, but the store is a folder, which the pods of Kubernetes Jobs cannot reach: set \
                 STORAGE_URL to a bucket (s3://, gs:// or az://), or KUBERNETES_JOBS=off",
            ),
            (
                jobs.redis.is_none(),
                "KUBERNETES_JOBS is on, but jobs are kept in DATA_DIR, which the pods of Kubernetes Jobs cannot reach: \
                 set JOBS_REDIS_URL, or KUBERNETES_JOBS=off",
            ),
            (
                self.template.is_none(),
                "KUBERNETES_JOBS is on, but KUBERNETES_JOB_TEMPLATE is not set: set it to the file with the pod \
                 template, as the Helm chart does, or KUBERNETES_JOBS=off",
            ),
            (
                is_short,
                "KUBERNETES_JOB_DEADLINE must be above CONVERSION_TIMEOUT, or Kubernetes ends conversions that have time \
                 left",
            ),
        ];
        let conflicts = conflicts.into_iter().filter(|(exists, _)| *exists);
        conflicts.map(|(_, sentence)| sentence.to_owned()).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};

    const ON: [(&str, &str); 4] = [
        ("KUBERNETES_JOBS", "auto"),
        ("KUBERNETES_JOB_TEMPLATE", "/etc/meshgate/pod.json"),
        ("STORAGE_URL", "s3://bucket"),
        ("JOBS_REDIS_URL", "redis://jobs"),
    ];

    fn load(variables: &[(&str, &str)]) -> Result<Config, Vec<String>> {
        let sources = Sources::new(variables.iter().map(|(name, value)| (name.into(), value.into())));
        Config::load(&sources).map_err(|mistakes| mistakes.0)
    }

    #[test]
    fn kubernetes_jobs_need_a_store_and_a_queue_that_pods_reach() {
        assert!(load(&ON).is_ok());
        for (missing, named) in [
            ("KUBERNETES_JOB_TEMPLATE", "KUBERNETES_JOB_TEMPLATE is not set"),
            ("STORAGE_URL", "the store is a folder"),
            ("JOBS_REDIS_URL", "jobs are kept in DATA_DIR"),
        ] {
            let left: Vec<_> = ON.into_iter().filter(|(name, _)| *name != missing).collect();
            let mistakes = load(&left).unwrap_err();
            assert!(mistakes.len() == 1 && mistakes[0].contains(named), "{mistakes:?}");
        }
        let folder = [ON[0], ON[1], ON[3], ("STORAGE_URL", "file:///srv/meshgate")];
        assert_eq!(load(&folder).unwrap_err().len(), 1);
        // Nothing of this matters to a server without Kubernetes Jobs.
        assert!(load(&[("KUBERNETES_JOBS", "off"), ("STORAGE_URL", "file:///srv/meshgate")]).is_ok());
    }

    #[test]
    fn a_deadline_leaves_time_for_the_conversion() {
        let read = |deadline: &str| {
            let further = [("CONVERSION_TIMEOUT", "100"), ("KUBERNETES_JOB_DEADLINE", deadline)];
            load(&[&ON[..], &further].concat())
        };
        let mistakes = read("100").unwrap_err();
        assert!(mistakes.len() == 1 && mistakes[0].contains("above CONVERSION_TIMEOUT"), "{mistakes:?}");
        let timeout = Duration::from_secs(100);
        assert_eq!(read("101").unwrap().kubernetes.deadline(timeout), Duration::from_secs(101));
        assert_eq!(load(&ON).unwrap().kubernetes.deadline(timeout), Duration::from_mins(10) + 3 * timeout);
    }

    #[test]
    fn the_least_memory_is_not_above_the_most() {
        let limits = [("KUBERNETES_JOB_MEMORY_MIN", "3G"), ("KUBERNETES_JOB_MEMORY_MAX", "2G")];
        assert_eq!(load(&limits).unwrap_err().len(), 1);
    }
}
