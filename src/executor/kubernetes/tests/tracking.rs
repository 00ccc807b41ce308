//! Changes that follow from one look after another.

use std::sync::Arc;
use std::time::Duration;

use k8s_openapi::api::batch::v1::Job;
use k8s_openapi::api::core::v1::Pod;
use serde_json::{Value, json};
use tokio::time::Instant;

use super::samples::{JOB, ended, job, pod, running, to_job, to_pod, unschedulable, waiting};
use crate::executor::kubernetes::tracker::{States, Tracker, View};
use crate::executor::kubernetes::{Outcome, Phase};

/// A tracker, and what the cluster holds.
struct Story {
    tracker: Tracker,
    begun: Instant,
    now: Instant,
    listed: Instant,
}

impl Story {
    fn new() -> Self {
        let now = Instant::now();
        Self { tracker: Tracker::new(Duration::from_mins(10)), begun: now, now, listed: now }
    }

    /// Lets this time pass.
    fn after(&mut self, seconds: u64) -> &mut Self {
        self.now += Duration::from_secs(seconds);
        self
    }

    /// Looks at this Job and this pod; returns the new phase.
    fn look(&mut self, job: Option<&Value>, pod: Option<&Value>) -> Option<Phase> {
        let jobs: Vec<Arc<Job>> = job.into_iter().map(|job| Arc::new(to_job(job.clone()))).collect();
        let pods: Vec<Arc<Pod>> = pod.into_iter().map(|pod| Arc::new(to_pod(pod.clone()))).collect();
        let view = View { jobs: &jobs, pods: &pods, listed: self.listed };
        let mut changes = self.tracker.update(&view, self.now);
        assert!(changes.len() <= 1, "{changes:?}");
        let change = changes.pop()?;
        assert_eq!(change.job, JOB);
        Some(change.phase)
    }

    /// The number of Jobs about which somebody should ask.
    fn questions(&mut self, job: &Value) -> usize {
        let jobs = [Arc::new(to_job(job.clone()))];
        self.tracker.questions(&View { jobs: &jobs, pods: &[], listed: self.listed }, self.now).len()
    }
}

fn is_pending(phase: Option<&Phase>) -> bool {
    matches!(phase, Some(Phase::Pending { .. }))
}

const DELETED: Option<Phase> = Some(Phase::Ended(Outcome::Deleted));

#[test]
fn the_same_state_is_told_once() {
    let mut story = Story::new();
    let (job, pod) = (job("u"), pod("a", "u", &running()));
    assert!(matches!(story.look(Some(&job), Some(&pod)), Some(Phase::Running { .. })));
    assert_eq!(story.after(10).look(Some(&job), Some(&pod)), None);
    let complete = ended("u", "Complete", "", "");
    assert_eq!(story.look(Some(&complete), Some(&pod)), Some(Phase::Ended(Outcome::Completed)));
    assert_eq!(story.look(Some(&complete), Some(&pod)), None);
    // Not even its removal is a change.
    assert_eq!(story.after(10).look(None, None), None);
    assert_eq!(story.tracker.states(), States::default());
}

#[test]
fn states_are_counted() {
    let mut story = Story::new();
    story.look(Some(&job("u")), None);
    assert_eq!(story.tracker.states(), States { pending: 1, ..States::default() });
    story.look(Some(&job("u")), Some(&pod("a", "u", &running())));
    assert_eq!(story.tracker.states(), States { running: 1, ..States::default() });
    story.look(Some(&ended("u", "Failed", "DeadlineExceeded", "")), None);
    assert_eq!(story.tracker.states(), States { failed: 1, ..States::default() });
    story.look(Some(&ended("v", "Complete", "", "")), None);
    assert_eq!(story.tracker.states(), States { succeeded: 1, ..States::default() });
}

#[test]
fn a_job_that_is_gone_was_deleted_unless_it_comes_back() {
    let mut story = Story::new();
    story.look(Some(&job("u")), None);
    assert_eq!(story.look(None, None), None);
    assert!(is_pending(story.after(1).look(Some(&job("other")), None).as_ref()), "made again");
    assert_eq!(story.look(None, None), None);
    assert_eq!(story.tracker.unfinished(), [JOB]);
    assert_eq!(story.after(2).look(None, None), DELETED);
    assert!(story.tracker.unfinished().is_empty());
    assert_eq!(story.after(2).look(None, None), None);
}

#[test]
fn a_job_on_its_way_out_was_deleted() {
    let mut story = Story::new();
    let mut leaving = job("u");
    leaving["metadata"]["deletionTimestamp"] = json!("2026-01-31T13:00:00Z");
    assert_eq!(story.look(Some(&leaving), None), None);
    assert_eq!(story.after(2).look(Some(&leaving), None), DELETED);
    assert_eq!(story.after(2).look(None, None), None);
}

#[test]
fn obstacles_end_the_job_after_a_while() {
    let mut story = Story::new();
    let stuck = pod("a", "u", &waiting("ErrImagePull", ""));
    assert!(is_pending(story.look(Some(&job("u")), Some(&stuck)).as_ref()));
    assert_eq!(story.after(59).look(Some(&job("u")), Some(&stuck)), None);
    let end = story.after(1).look(Some(&job("u")), Some(&stuck));
    assert!(
        matches!(&end, Some(Phase::Ended(Outcome::Image(why))) if why.contains("meshgate:1.2")),
        "{end:?}"
    );

    let mut story = Story::new();
    let homeless = pod("a", "u", &unschedulable());
    assert!(is_pending(story.look(Some(&job("u")), Some(&homeless)).as_ref()));
    assert_eq!(story.after(599).look(Some(&job("u")), Some(&homeless)), None);
    let end = story.after(1).look(Some(&job("u")), Some(&homeless));
    assert!(matches!(end, Some(Phase::Ended(Outcome::NoCapacity(_)))), "{end:?}");
}

#[test]
fn an_obstacle_that_passes_is_forgotten() {
    let mut story = Story::new();
    let homeless = pod("a", "u", &unschedulable());
    story.look(Some(&job("u")), Some(&homeless));
    story.after(500).look(Some(&job("u")), Some(&pod("a", "u", &json!({"phase": "Pending"}))));
    story.after(10).look(Some(&job("u")), Some(&homeless));
    assert_eq!(story.after(500).look(Some(&job("u")), Some(&homeless)), None);
}

#[test]
fn clocks_of_the_cluster_do_not_matter() {
    for created in ["1999-01-01T00:00:00Z", "2099-01-01T00:00:00Z"] {
        let mut story = Story::new();
        let mut skewed = job("u");
        skewed["metadata"]["creationTimestamp"] = json!(created);
        let homeless = pod("a", "u", &unschedulable());
        assert!(is_pending(story.look(Some(&skewed), Some(&homeless)).as_ref()), "{created}");
        assert_eq!(story.after(599).look(Some(&skewed), Some(&homeless)), None);
        assert!(story.after(1).look(Some(&skewed), Some(&homeless)).is_some_and(|phase| phase.has_ended()));
    }
}

#[test]
fn a_job_without_a_pod_is_asked_about_from_time_to_time() {
    let mut story = Story::new();
    story.look(Some(&job("u")), None);
    assert_eq!(story.questions(&job("u")), 0);
    assert_eq!(story.after(5).questions(&job("u")), 1);
    assert_eq!(story.after(1).questions(&job("u")), 0);
    assert_eq!(story.after(15).questions(&job("u")), 1);
    story.tracker.refused(JOB, "exceeded quota: small".to_owned());
    let why = story.look(Some(&job("u")), None);
    assert!(
        matches!(&why, Some(Phase::Pending { why: Some(why), .. }) if why.contains("exceeded quota")),
        "{why:?}"
    );
    story.look(Some(&job("u")), Some(&pod("a", "u", &running())));
    assert_eq!(story.after(60).questions(&job("u")), 0);
    // Nobody needs to ask why a suspended Job has none.
    let mut story = Story::new();
    let mut suspended = job("u");
    suspended["spec"]["suspend"] = json!(true);
    story.look(Some(&suspended), None);
    assert_eq!(story.after(60).questions(&suspended), 0);
}

#[test]
fn a_job_that_is_being_created_counts_as_unfinished() {
    let mut story = Story::new();
    story.tracker.expect(JOB);
    assert_eq!(story.tracker.unfinished(), [JOB]);
    assert_eq!(story.after(60).look(None, None), None, "it may still be on its way");
    story.tracker.give_up(JOB);
    assert!(story.tracker.unfinished().is_empty());

    story.tracker.expect(JOB);
    story.tracker.confirm(JOB, story.now);
    assert_eq!(story.after(60).look(None, None), None, "the watch may lag");
    story.look(Some(&job("u")), None);
    assert_eq!(story.tracker.unfinished(), [JOB]);
    story.look(Some(&ended("u", "Complete", "", "")), None);
    assert!(story.tracker.unfinished().is_empty());
}

#[test]
fn a_job_that_was_deleted_before_it_was_seen_is_missing_in_the_next_list() {
    let mut story = Story::new();
    story.tracker.expect(JOB);
    story.tracker.confirm(JOB, story.now);
    story.listed = story.after(5).now;
    assert_eq!(story.look(None, None), DELETED);
    assert!(story.tracker.unfinished().is_empty());
    assert!(story.listed > story.begun);
}

#[test]
fn an_expected_job_is_not_its_ended_predecessor() {
    let mut story = Story::new();
    let old = ended("u", "Failed", "PodFailurePolicy", "failed with exit code 137");
    assert_eq!(story.look(Some(&old), None), Some(Phase::Ended(Outcome::OutOfMemory)));
    story.tracker.expect(JOB);
    assert_eq!(story.look(Some(&old), None), None);
    assert_eq!(story.tracker.unfinished(), [JOB]);
    assert_eq!(story.look(None, None), None);
    assert!(is_pending(story.look(Some(&job("new")), None).as_ref()));
    assert_eq!(story.tracker.unfinished(), [JOB]);
}
