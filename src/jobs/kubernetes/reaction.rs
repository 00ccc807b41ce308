//! What the end of a Kubernetes Job means for its job.

use std::time::Duration;

use crate::domain::{ConversionError, ErrorCode};
use crate::executor::kubernetes::{Error, Outcome};
use crate::jobs::job::{GiveBack, Job};
use crate::jobs::kubernetes::policy::HeavyPolicy;
use crate::jobs::lease::Ending;
use crate::jobs::queue::End;

/// How long the record of a job may say that it runs after its pod has ended in an orderly way.
const RECORDED_WITHIN: Duration = Duration::from_secs(5);

/// How long an end is looked at again before something follows from it: a pod that is killed may still give its job back.
const SETTLES_WITHIN: Duration = Duration::from_secs(1);

/// How long after an end of this kind something is done about it, if the record of the job still says that it runs.
pub const fn patience(outcome: &Outcome) -> Duration {
    match outcome {
        Outcome::Completed | Outcome::ModelsFault => RECORDED_WITHIN,
        Outcome::OutOfMemory | Outcome::Deadline | Outcome::Failed(_) => SETTLES_WITHIN,
        Outcome::Image(_) | Outcome::NoCapacity(_) | Outcome::Deleted => Duration::ZERO,
    }
}

/// Whether the Kubernetes Job goes on after an end of this kind, so that it has to be deleted first.
pub const fn goes_on(outcome: &Outcome) -> bool {
    matches!(outcome, Outcome::Image(_) | Outcome::NoCapacity(_))
}

/// Returns how the attempt ends whose Kubernetes Job has ended and which has not recorded an end.
pub fn ending(outcome: &Outcome, policy: &HeavyPolicy, job: &Job) -> Ending {
    match outcome {
        Outcome::Completed | Outcome::ModelsFault | Outcome::Failed(_) | Outcome::Deleted => {
            Ending::GiveBack(GiveBack::WorkerLost)
        }
        Outcome::OutOfMemory => Ending::GiveBack(GiveBack::OutOfMemory),
        Outcome::Deadline => failed(
            ErrorCode::Timeout,
            "the Kubernetes Job of this job took longer than it may (KUBERNETES_JOB_DEADLINE)".to_owned(),
        ),
        Outcome::Image(why) => {
            failed(ErrorCode::EngineUnavailable, format!("the pod of this job cannot start: {why}"))
        }
        Outcome::NoCapacity(why) => without_room(policy, job, why),
    }
}

/// Returns how the attempt of a job ends for which no Kubernetes Job can be made, as long as nobody changes the set-up.
pub fn not_created(policy: &HeavyPolicy, job: &Job, error: &Error) -> Ending {
    if policy.fits_a_worker(job) {
        return Ending::GiveBack(GiveBack::Unschedulable);
    }
    failed(ErrorCode::EngineUnavailable, format!("no Kubernetes Job can be made for this job: {error}"))
}

/// Returns how the attempt of a job ends that found no room in the cluster in time.
pub fn without_room(policy: &HeavyPolicy, job: &Job, why: &str) -> Ending {
    if policy.fits_a_worker(job) {
        return Ending::GiveBack(GiveBack::Unschedulable);
    }
    failed(
        ErrorCode::NoCapacity,
        format!(
            "the cluster had no room for this job in time, and it needs more memory than workers have: {why}; retry it \
             later"
        ),
    )
}

/// Returns how the attempt of a job ends that would need a larger pod than there may be.
pub fn too_large() -> Ending {
    failed(
        ErrorCode::MemoryLimit,
        "this model needs more memory than a Kubernetes Job may have (KUBERNETES_JOB_MEMORY_MAX); give it less detail"
            .to_owned(),
    )
}

fn failed(code: ErrorCode, detail: String) -> Ending {
    Ending::End(End::Failed(ConversionError::new(code, detail)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Config, Kubernetes, KubernetesMode, Sources};
    use crate::jobs::job::JobSpec;
    use crate::jobs::kubernetes::tests::{LARGE, SMALL, job, spec_of};

    const GIB: u64 = 1 << 30;

    /// The ending as text: the reason of a give-back, or the code and the detail of an error.
    fn text(ending: &Ending) -> String {
        match ending {
            Ending::GiveBack(reason) => reason.word().to_owned(),
            Ending::End(End::Failed(error)) => format!("{}: {}", error.code, error.detail),
            Ending::End(end) => format!("{end:?}"),
        }
    }

    fn policy() -> HeavyPolicy {
        let config = Config::load(&Sources::default()).unwrap().kubernetes;
        HeavyPolicy::new(&Kubernetes { mode: KubernetesMode::Auto, ..config }, 4 * GIB).unwrap()
    }

    /// A job that a worker has the memory for, and one that needs a pod.
    fn jobs() -> [Job; 2] {
        [SMALL, LARGE].map(|bytes| job(spec_of("a.fbx", bytes)))
    }

    #[test]
    fn each_end_becomes_a_step_of_the_queue() {
        let (policy, [small, large]) = (policy(), jobs());
        for (outcome, of_small, of_large) in [
            (Outcome::Completed, "worker_lost", "worker_lost"),
            (Outcome::ModelsFault, "worker_lost", "worker_lost"),
            (Outcome::OutOfMemory, "out_of_memory", "out_of_memory"),
            (Outcome::Deadline, "timeout: ", "timeout: "),
            (Outcome::Image("no such tag".to_owned()), "engine_unavailable: ", "engine_unavailable: "),
            (Outcome::NoCapacity("no node".to_owned()), "unschedulable", "no_capacity: "),
            (Outcome::Failed("evicted".to_owned()), "worker_lost", "worker_lost"),
            (Outcome::Deleted, "worker_lost", "worker_lost"),
        ] {
            for (job, expected) in [(&small, of_small), (&large, of_large)] {
                let text = text(&ending(&outcome, &policy, job));
                assert!(text.starts_with(expected), "{outcome:?}: {text}");
            }
        }
    }

    #[test]
    fn errors_say_what_is_in_the_way() {
        let (policy, [_, large]) = (policy(), jobs());
        for outcome in [Outcome::Image("no such tag".to_owned()), Outcome::NoCapacity("no node".to_owned())] {
            let (Outcome::Image(why) | Outcome::NoCapacity(why)) = &outcome else { panic!("{outcome:?}") };
            assert!(text(&ending(&outcome, &policy, &large)).contains(why.as_str()));
        }
        assert!(text(&too_large()).starts_with("memory_limit: "));
    }

    #[test]
    fn a_wish_for_a_kubernetes_job_does_not_keep_a_job_from_a_worker() {
        let spec = JobSpec {
            executor: Some(crate::jobs::placement::ExecutorChoice::Kubernetes),
            ..spec_of("a.fbx", SMALL)
        };
        assert_eq!(text(&without_room(&policy(), &job(spec), "no node")), "unschedulable");
    }

    #[test]
    fn only_an_end_that_a_pod_records_gets_time_for_it() {
        assert!(patience(&Outcome::Completed) > patience(&Outcome::OutOfMemory));
        for outcome in [Outcome::Image(String::new()), Outcome::NoCapacity(String::new())] {
            assert!(goes_on(&outcome) && patience(&outcome).is_zero());
        }
        for outcome in [Outcome::Completed, Outcome::OutOfMemory, Outcome::Deleted, Outcome::Deadline] {
            assert!(!goes_on(&outcome));
        }
    }
}
