//! The thread that writes.
//!
//! Waiting operations share a transaction, so that they wait for the disk once. Each has its own savepoint: one that
//! fails or panics changes nothing, and does not affect the others. Callers get their answers after the commit, when
//! the changes are on the disk.

use std::io;
use std::sync::Arc;
use std::thread;

use rusqlite::{Connection, TransactionBehavior};
use tokio::sync::{mpsc, oneshot};

use super::step::{Context, Step};
use crate::jobs::queue::{Hint, QueueError};

/// Operations that share a transaction, at most.
const AT_ONCE: usize = 64;

/// Operations that wait for the thread, at most; the callers of further ones wait to have theirs accepted.
const WAITING: usize = 1024;

/// The work of an operation.
type Work<T> = Box<dyn FnOnce(&mut Step<'_>) -> rusqlite::Result<T> + Send>;

/// An operation with an answer of any type.
pub trait Command: Send {
    /// Does the work. After an error, its changes are rolled back.
    fn run(&mut self, step: &mut Step<'_>) -> Result<(), QueueError>;

    /// Answers the caller, after the transaction.
    fn answer(self: Box<Self>, committed: Result<(), QueueError>);
}

/// An operation, and its caller.
pub struct Call<T> {
    work: Option<Work<T>>,
    result: Option<Result<T, QueueError>>,
    answer: oneshot::Sender<Result<T, QueueError>>,
}

impl<T> Call<T> {
    pub fn new(
        work: impl FnOnce(&mut Step<'_>) -> rusqlite::Result<T> + Send + 'static,
        answer: oneshot::Sender<Result<T, QueueError>>,
    ) -> Self {
        Self { work: Some(Box::new(work)), result: None, answer }
    }
}

impl<T: Send> Command for Call<T> {
    fn run(&mut self, step: &mut Step<'_>) -> Result<(), QueueError> {
        // The caller has given up.
        if self.answer.is_closed() {
            return Ok(());
        }
        let Some(work) = self.work.take() else { return Ok(()) };
        let context = step.context;
        let result = context.run(|| work(step));
        let outcome = match &result {
            Ok(_) => Ok(()),
            Err(error) => Err(error.clone()),
        };
        self.result = Some(result);
        outcome
    }

    fn answer(self: Box<Self>, committed: Result<(), QueueError>) {
        let Call { result, answer, .. } = *self;
        let result = match (committed, result) {
            (Err(error), _) => Err(error),
            (Ok(()), Some(result)) => result,
            (Ok(()), None) => return,
        };
        let _ = answer.send(result);
    }
}

/// Starts the thread. It ends after the last operation, once the sender is dropped.
pub fn start(
    mut connection: Connection,
    context: Arc<Context>,
) -> io::Result<mpsc::Sender<Box<dyn Command>>> {
    let (sender, mut waiting) = mpsc::channel(WAITING);
    thread::Builder::new().name("jobs-writer".to_owned()).spawn(move || {
        let mut commands = Vec::with_capacity(AT_ONCE);
        while waiting.blocking_recv_many(&mut commands, AT_ONCE) > 0 {
            run(&mut connection, &context, &mut commands);
        }
    })?;
    Ok(sender)
}

/// Runs the commands in one transaction, answers them, and empties the list.
pub fn run(connection: &mut Connection, context: &Context, commands: &mut Vec<Box<dyn Command>>) {
    let committed = commit(connection, context, commands).map(|hints| {
        for hint in hints {
            // Perhaps nobody listens.
            let _ = context.hints.send(hint);
        }
    });
    for command in commands.drain(..) {
        command.answer(committed.clone());
    }
}

/// Returns the hints about what is committed. After an error, nothing is.
fn commit(
    connection: &mut Connection,
    context: &Context,
    commands: &mut [Box<dyn Command>],
) -> Result<Vec<Hint>, QueueError> {
    let error = |error: rusqlite::Error| context.error(&error);
    // Dropping the transaction rolls it back, so that the next one finds the connection as it was.
    let mut transaction =
        connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(error)?;
    let mut hints = Vec::new();
    for command in commands {
        let savepoint = transaction.savepoint().map_err(error)?;
        let mut step = Step::new(&savepoint, context);
        let outcome = command.run(&mut step);
        let of_step = step.hints;
        match outcome {
            Ok(()) => {
                hints.extend(of_step);
                savepoint.commit().map_err(error)?;
            }
            // After some errors, such as a full disk, SQLite has rolled back everything.
            Err(cause) if savepoint.is_autocommit() => return Err(cause),
            Err(_) => savepoint.finish().map_err(error)?,
        }
    }
    transaction.commit().map_err(error)?;
    Ok(hints)
}
