use std::time::SystemTime;

use tokio::time::advance;

use super::*;

const JOB: Uuid = Uuid::from_u128(7);

fn pending() -> Phase {
    Phase::Pending { since: SystemTime::UNIX_EPOCH, why: None }
}

fn running() -> Phase {
    Phase::Running { started: SystemTime::UNIX_EPOCH }
}

fn ended() -> Phase {
    Phase::Ended(Outcome::OutOfMemory)
}

/// Shows these phases, one after the other.
fn show<const N: usize>(board: &Board, phases: [Phase; N]) {
    for phase in phases {
        board.changed(JOB, phase);
    }
}

/// The token that is known, and whether it is the board's business that the Kubernetes Job has ended.
fn known(board: &Board) -> Option<(Option<u64>, bool)> {
    let found = board.attention();
    assert!(found.len() <= 1, "{found:?}");
    found.first().map(|found| (found.token, found.ended.is_some()))
}

#[tokio::test(start_paused = true)]
async fn an_end_belongs_to_the_claim_of_the_time_before() {
    let board = Board::default();
    show(&board, [pending()]);
    assert_eq!(known(&board), Some((None, false)));
    board.learned(JOB, 1);
    show(&board, [running(), ended()]);
    assert_eq!(known(&board), Some((Some(1), true)));
    advance(Duration::from_secs(3)).await;
    let ended = board.attention().remove(0).ended;
    assert_eq!(ended, Some((Outcome::OutOfMemory, Duration::from_secs(3))));
    // A later end changes nothing.
    show(&board, [Phase::Ended(Outcome::Deleted)]);
    let ended = board.attention().remove(0).ended;
    assert_eq!(ended.map(|(outcome, _)| outcome), Some(Outcome::OutOfMemory));
    board.lost(JOB);
    assert_eq!(known(&board), None);
}

#[tokio::test(start_paused = true)]
async fn an_end_without_a_claim_is_ignored() {
    let board = Board::default();
    show(&board, [ended()]);
    assert_eq!(known(&board), None);
    show(&board, [running(), ended()]);
    assert_eq!(known(&board), None);
}

#[tokio::test(start_paused = true)]
async fn an_end_soon_after_the_claim_changed_may_be_that_of_the_claim_before() {
    for (pause, is_known) in [(TRUSTED_AFTER / 2, false), (TRUSTED_AFTER, true)] {
        let board = Board::default();
        show(&board, [running()]);
        board.learned(JOB, 1);
        // Another process has given the job back, and somebody has taken it again.
        board.lost(JOB);
        assert_eq!(known(&board), Some((None, false)));
        board.learned(JOB, 2);
        advance(pause).await;
        show(&board, [ended()]);
        assert_eq!(known(&board), is_known.then_some((Some(2), true)), "{pause:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn another_kubernetes_job_takes_the_place_of_one_that_has_ended() {
    let board = Board::default();
    show(&board, [running()]);
    board.learned(JOB, 1);
    show(&board, [ended(), pending()]);
    assert_eq!(known(&board), Some((None, false)));
    // The first token that is known while it is unfinished is its own.
    board.learned(JOB, 2);
    show(&board, [ended()]);
    assert_eq!(known(&board), Some((Some(2), true)));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_created_here_is_known_before_it_is_seen() {
    let board = Board::default();
    board.created(JOB, 1, true);
    show(&board, [pending()]);
    assert_eq!(known(&board), Some((Some(1), false)));
    advance(Duration::from_secs(4)).await;
    assert_eq!(board.changed(JOB, running()), Some(Duration::from_secs(4)));
    // Only the first start counts.
    show(&board, [pending()]);
    assert_eq!(board.changed(JOB, running()), None);
    show(&board, [Phase::Ended(Outcome::Deleted)]);
    assert_eq!(known(&board), Some((Some(1), true)));
    // It is created again for the next claim.
    board.created(JOB, 2, true);
    assert_eq!(known(&board), Some((Some(2), false)));
}

#[tokio::test(start_paused = true)]
async fn one_that_was_found_may_run_for_an_earlier_claim() {
    let board = Board::default();
    board.created(JOB, 2, false);
    assert_eq!(board.changed(JOB, running()), None);
    show(&board, [ended()]);
    assert_eq!(known(&board), None);
    // The watcher of this process has seen it before, and knows the claim.
    show(&board, [pending()]);
    board.learned(JOB, 3);
    board.created(JOB, 3, false);
    show(&board, [ended()]);
    assert_eq!(known(&board), Some((Some(3), true)));
}

#[tokio::test(start_paused = true)]
async fn a_lost_pod_is_noted_until_the_record_says_so() {
    let board = Board::default();
    show(&board, [pending(), running(), running()]);
    assert!(!board.attention()[0].is_rescheduled);
    show(&board, [pending(), pending()]);
    assert!(board.attention()[0].is_rescheduled);
    board.marked(JOB);
    show(&board, [running()]);
    assert!(!board.attention()[0].is_rescheduled);
    // Another pod runs, and nobody has seen it wait.
    show(&board, [Phase::Running { started: SystemTime::UNIX_EPOCH + Duration::from_secs(9) }]);
    assert!(board.attention()[0].is_rescheduled);
}

#[tokio::test(start_paused = true)]
async fn one_without_a_job_is_deleted_once_at_a_time() {
    for state in [None, Some(State::Cancelled), Some(State::Expired)] {
        let board = Board::default();
        assert!(!board.is_orphan(JOB, state));
        show(&board, [pending()]);
        assert!(board.is_orphan(JOB, state) && board.is_orphan(JOB, state));
        board.deleted(JOB);
        assert!(!board.is_orphan(JOB, state));
        advance(DELETED_WITHIN).await;
        assert!(board.is_orphan(JOB, state));
    }
}

#[tokio::test(start_paused = true)]
async fn a_pod_has_time_to_end_after_the_job() {
    let board = Board::default();
    show(&board, [running()]);
    for state in [State::Queued, State::Running] {
        assert!(!board.is_orphan(JOB, Some(state)));
    }
    assert!(!board.is_orphan(JOB, Some(State::Succeeded)));
    advance(ENDS_WITHIN / 2).await;
    assert!(!board.is_orphan(JOB, Some(State::Succeeded)));
    // Somebody runs it again.
    assert!(!board.is_orphan(JOB, Some(State::Running)));
    advance(ENDS_WITHIN).await;
    assert!(!board.is_orphan(JOB, Some(State::Failed)));
    advance(ENDS_WITHIN).await;
    assert!(board.is_orphan(JOB, Some(State::Failed)));
}
