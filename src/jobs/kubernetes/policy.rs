//! Which jobs are heavy, and how large their pods are.

use crate::config::{Kubernetes, KubernetesMode};
use crate::domain::{Census, Format};
use crate::executor::kubernetes::PodRequest;
use crate::executor::kubernetes::sizing::{self, PROGRAM, Size, SizeLimits};
use crate::fs::names;
use crate::jobs::job::{GiveBack, Job, JobSpec};
use crate::jobs::placement::ExecutorChoice;
use crate::repack;

/// Most processor time of a pod, in thousandths of a processor.
const MAX_CPU_MILLIS: u32 = 2000;

/// Most disk space of a pod, in bytes.
const MAX_STORAGE: u64 = 64 << 30;

/// Decides which jobs get a Kubernetes Job of their own. They are called heavy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HeavyPolicy {
    mode: KubernetesMode,
    /// Least size of the model of a heavy job, in bytes.
    min_bytes: u64,
    sizes: SizeLimits,
    /// The memory limit of a conversion in a worker, in bytes.
    worker_memory: u64,
}

impl HeavyPolicy {
    /// `worker_memory`: the memory limit of a conversion in a worker, in bytes. `None` if no job is heavy.
    pub fn new(config: &Kubernetes, worker_memory: u64) -> Option<Self> {
        config.is_on().then(|| Self {
            mode: config.mode,
            min_bytes: config.min_bytes,
            sizes: limits(config),
            worker_memory,
        })
    }

    /// Whether a job with a model of this many bytes may become heavy, as far as its submission tells.
    pub fn may_be_heavy(&self, bytes: u64, executor: Option<ExecutorChoice>) -> bool {
        match executor {
            Some(ExecutorChoice::Kubernetes) => true,
            Some(ExecutorChoice::Local) => false,
            None => self.mode == KubernetesMode::Always || bytes >= self.min_bytes,
        }
    }

    /// Whether the next attempt of a job needs a Kubernetes Job. What the cluster had no place for runs in a worker.
    pub fn is_heavy(&self, job: &Job) -> bool {
        self.is_heavy_with(job, job.memory_factor)
    }

    /// Whether the job would be heavy if its next attempt may use this multiple of the usual memory: another attempt in a
    /// worker would have no more than the one that ran out of it.
    pub fn is_heavy_with(&self, job: &Job, memory_factor: u32) -> bool {
        let spec = &job.spec;
        if job.events.iter().any(|event| event.reason == Some(GiveBack::Unschedulable)) {
            return false;
        }
        match spec.executor {
            Some(ExecutorChoice::Kubernetes) => true,
            Some(ExecutorChoice::Local) => false,
            None if is_repacked(spec) => false,
            None => self.may_be_heavy(model_bytes(spec), None) || memory_factor > 1,
        }
    }

    /// Whether a worker has the memory for the next attempt, by the rule for the size of pods.
    pub fn fits_a_worker(&self, job: &Job) -> bool {
        self.size(job).is_some_and(|size| size.conversion_bytes() <= self.worker_memory)
    }

    /// Returns the pod for the next attempt; `None` if it would need more memory than a pod may have.
    pub fn pod(&self, job: &Job) -> Option<PodRequest> {
        let Size { memory_bytes, cpu_millis, storage_bytes } = self.size(job)?;
        Some(PodRequest {
            job: job.id,
            memory_bytes,
            cpu_millis,
            storage_bytes,
            trace_parent: job.spec.trace_parent.clone(),
            request_id: job.spec.request_id.clone(),
        })
    }

    fn size(&self, job: &Job) -> Option<Size> {
        let factor = job.memory_factor;
        let mut size = sizing::size(&census(&job.spec), factor, &self.sizes)?;
        if factor > 1 {
            // The attempt before may have run in a worker, which has more than a small model usually needs.
            let more = self.worker_memory.saturating_mul(factor.into()).saturating_add(PROGRAM);
            size.memory_bytes = size.memory_bytes.max(more.min(self.sizes.max_memory));
        }
        Some(size)
    }
}

/// The limits of pods.
fn limits(config: &Kubernetes) -> SizeLimits {
    SizeLimits {
        min_memory: config.min_memory,
        max_memory: config.max_memory,
        max_cpu_millis: MAX_CPU_MILLIS,
        max_storage: MAX_STORAGE,
    }
}

/// What is known of the model: without a census, its size and the format that its name tells.
fn census(spec: &JobSpec) -> Census {
    spec.census.unwrap_or_else(|| {
        let bytes = model_bytes(spec);
        Census {
            bytes,
            uncounted_bytes: bytes,
            uncounted_format: main_file(spec).and_then(format_of),
            ..Census::default()
        }
    })
}

fn model_bytes(spec: &JobSpec) -> u64 {
    spec.input.iter().map(|file| file.bytes).fold(0, u64::saturating_add)
}

/// The main file if it is named, or else the largest one.
fn main_file(spec: &JobSpec) -> Option<&str> {
    let largest = || spec.input.iter().max_by_key(|file| file.bytes).map(|file| file.name.as_str());
    spec.main.as_deref().or_else(largest)
}

/// Whether the native lane repacks the model, as far as names tell. It needs little memory, and no Blender.
fn is_repacked(spec: &JobSpec) -> bool {
    let may_be =
        |name: &str| format_of(name).is_some_and(|format| repack::can(format, spec.target, &spec.options));
    match &spec.main {
        Some(main) => may_be(main),
        None => spec.input.iter().any(|file| may_be(&file.name)),
    }
}

fn format_of(name: &str) -> Option<Format> {
    Format::from_extension(&names::extension(name))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Sources};
    use crate::domain::Options;
    use crate::domain::options::EngineChoice;
    use crate::jobs::job::Timestamp;
    use crate::jobs::kubernetes::tests::{job, spec_of};

    const MIB: u64 = 1 << 20;
    const GIB: u64 = 1 << 30;

    fn policy(mode: KubernetesMode) -> HeavyPolicy {
        let config = Config::load(&Sources::default()).unwrap().kubernetes;
        HeavyPolicy::new(&Kubernetes { mode, ..config }, 4 * GIB).unwrap()
    }

    #[test]
    fn no_job_is_heavy_without_kubernetes_jobs() {
        let config = Config::load(&Sources::default()).unwrap().kubernetes;
        assert_eq!(HeavyPolicy::new(&config, 4 * GIB), None);
    }

    #[test]
    fn large_models_and_wishes_make_jobs_heavy() {
        let (auto, always) = (policy(KubernetesMode::Auto), policy(KubernetesMode::Always));
        for (spec, in_auto, in_always) in [
            (spec_of("a.fbx", 64 * MIB), true, true),
            (spec_of("a.fbx", 64 * MIB - 1), false, true),
            (spec_of("a.zip", 64 * MIB), true, true),
            // A repack needs no Blender, whatever its size.
            (spec_of("a.glb", GIB), false, false),
            (spec_of("a.gltf", GIB), false, false),
            (JobSpec { target: Format::Fbx, ..spec_of("a.glb", GIB) }, true, true),
            (
                JobSpec {
                    options: Options { engine: EngineChoice::Blender, ..Options::default() },
                    ..spec_of("a.glb", GIB)
                },
                true,
                true,
            ),
            (JobSpec { executor: Some(ExecutorChoice::Kubernetes), ..spec_of("a.glb", 1) }, true, true),
            (JobSpec { executor: Some(ExecutorChoice::Local), ..spec_of("a.fbx", GIB) }, false, false),
        ] {
            let job = job(spec);
            assert_eq!(
                (auto.is_heavy(&job), always.is_heavy(&job)),
                (in_auto, in_always),
                "{:?}",
                job.spec.input
            );
        }
    }

    #[test]
    fn the_named_main_file_says_whether_a_model_is_repacked() {
        let auto = policy(KubernetesMode::Auto);
        let files = ["a.obj", "b.gltf", "b.bin"].map(|name| spec_of(name, 64 * MIB).input).concat();
        let named = |main: Option<&str>| {
            let input = files.clone();
            job(JobSpec { input, main: main.map(str::to_owned), ..spec_of("a.obj", 1) })
        };
        assert!(auto.is_heavy(&named(Some("a.obj"))));
        assert!(!auto.is_heavy(&named(Some("b.gltf"))) && !auto.is_heavy(&named(None)));
    }

    #[test]
    fn a_job_that_ran_out_of_memory_in_a_worker_becomes_heavy() {
        let auto = policy(KubernetesMode::Auto);
        let mut job = job(spec_of("a.fbx", 1));
        assert!(!auto.is_heavy(&job) && auto.is_heavy_with(&job, 2));
        job.memory_factor = 2;
        assert!(auto.is_heavy(&job));
        // It had 4 GiB.
        assert_eq!(auto.pod(&job).unwrap().memory_bytes, 8 * GIB + PROGRAM);
        job.spec.executor = Some(ExecutorChoice::Local);
        assert!(!auto.is_heavy(&job));
    }

    #[test]
    fn what_the_cluster_has_no_place_for_runs_in_a_worker() {
        let auto = policy(KubernetesMode::Always);
        let mut job = job(JobSpec { executor: Some(ExecutorChoice::Kubernetes), ..spec_of("a.fbx", GIB) });
        assert!(auto.is_heavy(&job));
        job.record_event(Timestamp(1), None, Some(GiveBack::Unschedulable));
        job.record_event(Timestamp(2), None, None);
        assert!(!auto.is_heavy(&job) && !auto.is_heavy_with(&job, 2));
    }

    #[test]
    fn settings_limit_the_memory_of_pods() {
        let sizes = limits(&Config::load(&Sources::default()).unwrap().kubernetes);
        assert_eq!((sizes.min_memory, sizes.max_memory), (2 << 30, 16 << 30));
    }

    #[test]
    fn the_census_decides_the_size_and_the_limits_bound_it() {
        let auto = policy(KubernetesMode::Auto);
        let with = |census| job(JobSpec { census, ..spec_of("a.glb", 100 * MIB) });
        let memory = |census| auto.pod(&with(census)).map(|pod| pod.memory_bytes);
        let counted = |triangles| Some(Census { bytes: 100 * MIB, triangles, ..Census::default() });
        assert!(memory(counted(1000)) < memory(counted(2_000_000)));
        // Without a census, the bytes may be triangles.
        assert!(memory(counted(1000)) < memory(None));
        assert_eq!(memory(counted(u64::MAX)), None);
        assert!(auto.fits_a_worker(&with(counted(1000))));
        for triangles in [5_000_000, u64::MAX] {
            assert!(!auto.fits_a_worker(&with(counted(triangles))), "{triangles}");
        }
    }

    #[test]
    fn models_that_may_become_heavy_are_known_at_the_submission() {
        let (auto, always) = (policy(KubernetesMode::Auto), policy(KubernetesMode::Always));
        assert!(auto.may_be_heavy(64 * MIB, None) && !auto.may_be_heavy(64 * MIB - 1, None));
        assert!(always.may_be_heavy(1, None));
        assert!(auto.may_be_heavy(1, Some(ExecutorChoice::Kubernetes)));
        assert!(!always.may_be_heavy(GIB, Some(ExecutorChoice::Local)));
    }
}
