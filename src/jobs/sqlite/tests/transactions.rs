//! Operations that fail, alone or together.

use std::path::Path;
use std::time::Duration;

use rusqlite::Connection;
use tokio::sync::{broadcast, oneshot};

use super::{LIMITS, new_file, new_job, open, submit, take};
use crate::jobs::job::State;
use crate::jobs::queue::{Hint, NewJob, Queue, QueueError, Submission};
use crate::jobs::sqlite::clock::Clock;
use crate::jobs::sqlite::statements::{execute, number};
use crate::jobs::sqlite::step::{Context, Spans, Step};
use crate::jobs::sqlite::writer::{self, Call, Command};
use crate::jobs::sqlite::{connection, schema};

type Answer<T> = oneshot::Receiver<Result<T, QueueError>>;

fn connect(path: &Path) -> (Connection, Context, broadcast::Receiver<Hint>) {
    let mut connection = connection::open(path).unwrap();
    schema::migrate(&mut connection).unwrap();
    let (hints, received) = broadcast::channel(16);
    let context = Context {
        path: path.to_owned(),
        limits: LIMITS,
        spans: Spans::DEFAULT,
        clock: Clock::of_machine().unwrap(),
        origin: 1,
        hints,
    };
    (connection, context, received)
}

fn command<T: Send + 'static>(
    work: impl FnOnce(&mut Step<'_>) -> rusqlite::Result<T> + Send + 'static,
) -> (Box<dyn Command>, Answer<T>) {
    let (answer, answered) = oneshot::channel();
    (Box::new(Call::new(work, answer)), answered)
}

fn submission(job: NewJob) -> (Box<dyn Command>, Answer<Submission>) {
    command(move |step| step.submit(job))
}

fn jobs(connection: &Connection) -> i64 {
    let counted = number(connection, "SELECT sum(jobs) FROM counts").unwrap();
    assert_eq!(number(connection, "SELECT count(*) FROM jobs").unwrap(), counted);
    counted
}

#[test]
fn an_operation_that_fails_leaves_the_others_alone() {
    let (_folder, path) = new_file();
    let (mut connection, context, mut hints) = connect(&path);
    let (first, first_answer) = submission(new_job("a"));
    let (failing, mut failing_answer) = command(|step| {
        step.submit(new_job("b"))?;
        execute(step.sql, "UPDATE meta SET boot = NULL", [])
    });
    let (last, last_answer) = submission(new_job("c"));
    let mut commands = vec![first, failing, last];
    writer::run(&mut connection, &context, &mut commands);
    assert!(commands.is_empty());
    for mut answer in [first_answer, last_answer] {
        assert!(matches!(answer.try_recv(), Ok(Ok(Submission::New(_)))));
        assert_eq!(hints.try_recv().unwrap(), Hint::Queued);
    }
    let error = failing_answer.try_recv().unwrap().unwrap_err();
    assert!(error.to_string().contains("NOT NULL"), "{error}");
    assert!(hints.try_recv().is_err());
    assert_eq!(jobs(&connection), 2);
    assert_eq!(number(&connection, "SELECT count(*) FROM clients").unwrap(), 2);
}

#[test]
fn an_operation_that_panics_leaves_the_others_alone() {
    let (_folder, path) = new_file();
    let (mut connection, context, mut hints) = connect(&path);
    let (panicking, mut panicking_answer) = command::<()>(|step| {
        step.submit(new_job("a"))?;
        panic!("on purpose")
    });
    let (last, mut last_answer) = submission(new_job("b"));
    writer::run(&mut connection, &context, &mut vec![panicking, last]);
    let error = panicking_answer.try_recv().unwrap().unwrap_err();
    assert!(error.to_string().ends_with("internal error (panic)"), "{error}");
    assert!(matches!(last_answer.try_recv(), Ok(Ok(Submission::New(_)))));
    assert_eq!(hints.try_recv().unwrap(), Hint::Queued);
    assert!(hints.try_recv().is_err());
    assert_eq!(jobs(&connection), 1);
}

#[tokio::test]
async fn a_panic_ends_no_thread() {
    let (_folder, path) = new_file();
    let queue = open(&path);
    assert!(queue.write::<()>(|_| panic!("on purpose")).await.is_err());
    assert!(queue.read::<()>(|_| panic!("on purpose")).await.is_err());
    let job = submit(&queue, "a").await;
    assert_eq!(queue.job(job.id).await.unwrap(), Some(job));
}

#[test]
fn a_full_disk_fails_operations_until_there_is_room() {
    let (_folder, path) = new_file();
    let (mut connection, context, _hints) = connect(&path);
    let limit = |connection: &Connection, pages: i64| {
        connection.pragma_update_and_check(None, "max_page_count", pages, |row| row.get::<_, i64>(0)).unwrap()
    };
    let pages = number(&connection, "PRAGMA page_count").unwrap();
    limit(&connection, pages);
    let mut large = new_job("a");
    large.spec.request_id = "x".repeat(100_000);
    for _ in 0..3 {
        let (command, mut answer) = submission(large.clone());
        writer::run(&mut connection, &context, &mut vec![command]);
        let error = answer.try_recv().unwrap().unwrap_err();
        assert!(error.to_string().ends_with("database or disk is full"), "{error}");
        assert!(connection.is_autocommit());
        assert_eq!(jobs(&connection), 0);
    }
    limit(&connection, pages + 100);
    let (command, mut answer) = submission(large);
    writer::run(&mut connection, &context, &mut vec![command]);
    assert!(matches!(answer.try_recv(), Ok(Ok(Submission::New(_)))));
    assert_eq!(jobs(&connection), 1);
}

#[test]
fn all_fail_if_the_transaction_cannot_begin() {
    let (_folder, path) = new_file();
    let (mut connection, context, mut hints) = connect(&path);
    let (other, ..) = connect(&path);
    other.execute_batch("BEGIN IMMEDIATE").unwrap();
    connection.busy_timeout(Duration::ZERO).unwrap();
    let (first, first_answer) = submission(new_job("a"));
    let (second, second_answer) = submission(new_job("a"));
    writer::run(&mut connection, &context, &mut vec![first, second]);
    for mut answer in [first_answer, second_answer] {
        assert!(answer.try_recv().unwrap().unwrap_err().to_string().ends_with("database is locked"));
    }
    assert!(hints.try_recv().is_err());
    other.execute_batch("COMMIT").unwrap();
    let (third, mut third_answer) = submission(new_job("a"));
    writer::run(&mut connection, &context, &mut vec![third]);
    assert!(matches!(third_answer.try_recv(), Ok(Ok(Submission::New(_)))));
    assert_eq!(jobs(&connection), 1);
}

#[test]
fn an_operation_that_nobody_waits_for_is_skipped() {
    let (_folder, path) = new_file();
    let (mut connection, context, _hints) = connect(&path);
    let (command, answer) = submission(new_job("a"));
    drop(answer);
    writer::run(&mut connection, &context, &mut vec![command]);
    assert_eq!(jobs(&connection), 0);
}

#[tokio::test]
async fn a_job_that_cannot_be_read_stops_nobody() {
    let (_folder, path) = new_file();
    let queue = open(&path);
    let unreadable = submit(&queue, "a").await;
    let of_same_client = submit(&queue, "a").await;
    let id = unreadable.id;
    let spoil = "UPDATE specs SET spec = '{}' WHERE seq = (SELECT seq FROM jobs WHERE id = ?1)";
    queue.write(move |step| execute(step.sql, spoil, [id])).await.unwrap();
    assert_eq!(take(&queue).await.job.id, of_same_client.id);
    assert_eq!(queue.take("a worker").await.unwrap(), None);
    assert_eq!(queue.stats().await.unwrap().jobs, [0, 1, 0, 1, 0, 0]);
    let listed = queue.list(&unreadable.spec.client, None, None, 10).await.unwrap();
    let listed: Vec<_> = listed.jobs.iter().map(|job| (job.id, job.state)).collect();
    assert_eq!(listed, [(of_same_client.id, State::Running)]);
    assert!(queue.job(id).await.is_err());
    assert!(queue.remove(id).await.unwrap().is_some());
    assert_eq!(queue.unknown(&[id]).await.unwrap(), [id]);
}
