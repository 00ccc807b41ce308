//! One zygote: its process, its socket, and the conversions that run in its children.
//!
//! A separate task drives the process. The handle sends it requests; when the last handle is dropped, the task closes
//! the socket and the zygote exits. When the zygote ends, however it ends, the channels of its unfinished conversions
//! close; by then their children are dead.

use std::collections::HashMap;
use std::io;
use std::process::ExitStatus;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rustix::process::{Pid, Signal, WaitOptions};
use tokio::net::unix::{OwnedReadHalf, OwnedWriteHalf};
use tokio::process::Child;
use tokio::sync::{mpsc, watch};
use tokio::time::timeout;
use tokio_util::task::TaskTracker;

use super::error::EngineError;
use super::launch::{Launcher, Log, Started};
use super::protocol::{self, Command, Convert, Event, Hello, Ready};

/// How long a zygote may take to exit by itself.
const EXIT_WITHIN: Duration = Duration::from_secs(2);
/// A zygote that does not read its socket for this long is stuck.
const WRITE_WITHIN: Duration = Duration::from_secs(1);
/// How long the children of a dead zygote may take to die.
const CHILDREN_EXIT_WITHIN: Duration = Duration::from_millis(500);

/// Everything needed to start a zygote.
pub(super) struct ZygoteSettings {
    pub launcher: Arc<Launcher>,
    pub hello: Hello,
    pub ready_within: Duration,
    /// Tracks the driver tasks, so that a shutdown can wait for them.
    pub tracker: TaskTracker,
}

/// The events of one conversion.
pub(super) type Events = mpsc::UnboundedReceiver<Event>;

/// How a zygote ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Ending {
    /// It exited after its last handle was dropped.
    Exited,
    /// It ended by itself; holds the exit status and the last line of output.
    Died(String),
    /// It was killed because it did not do this.
    Unresponsive(&'static str),
}

/// A zygote that is ready.
#[derive(Debug)]
pub(super) struct Zygote {
    requests: mpsc::UnboundedSender<Request>,
    ending: watch::Receiver<Option<Ending>>,
    served: AtomicU64,
    pub ready: Ready,
    pub pid: u32,
}

enum Request {
    Convert(Box<Convert>, mpsc::UnboundedSender<Event>),
    Cancel(u64),
    Kill(&'static str),
}

impl Zygote {
    /// Starts a zygote and waits until it is ready. Dropping the future kills it.
    pub async fn start(recipe: &ZygoteSettings, cold: bool) -> Result<Zygote, EngineError> {
        let began = tokio::time::Instant::now();
        let Started { scratch, mut process, socket, mut log } = recipe.launcher.start().await?;
        let (mut reader, mut writer) = socket.into_split();
        let hello = Command::Hello(Hello { cold, ..recipe.hello.clone() });
        let greeting = async {
            // If the zygote has died, the read below finds out.
            let _ = protocol::write(&mut writer, &hello).await;
            protocol::read(&mut reader).await
        };
        let Ok(answer) = timeout(recipe.ready_within, greeting).await else {
            let log = log.last_lines(false).await;
            return Err(EngineError::NotReady { waited: recipe.ready_within, log });
        };
        let ready = check_ready(answer, &mut process, &mut log).await?;
        // From here on, it makes no temporary files; its children have folders of their own.
        drop(scratch);
        let pid = process.id().unwrap_or_default();
        tracing::debug!(pid, cold, seconds = began.elapsed().as_secs_f64(), "a zygote is ready");

        let (requests, received) = mpsc::unbounded_channel();
        let (ended, ending) = watch::channel(None);
        let driver = Driver {
            process,
            log,
            writer,
            events: read_events(reader),
            requests: received,
            running: HashMap::new(),
            // The zygote dies with the thread that started it.
            _launcher: Arc::clone(&recipe.launcher),
        };
        recipe.tracker.spawn(driver.run(ended));
        Ok(Zygote { requests, ending, served: AtomicU64::new(0), ready, pid })
    }

    /// Starts a child that runs the conversion. Its events end with `exited`, or without it if the zygote ends first.
    pub fn start_child(&self, convert: Convert) -> Events {
        self.served.fetch_add(1, Ordering::Relaxed);
        let (events, received) = mpsc::unbounded_channel();
        // If the zygote has ended, the request is dropped with its sender, and the events end.
        let _ = self.requests.send(Request::Convert(Box::new(convert), events));
        received
    }

    /// Kills the conversion's child.
    pub fn cancel(&self, id: u64) {
        let _ = self.requests.send(Request::Cancel(id));
    }

    /// Kills the zygote and its children; `missed` names what the zygote did not do.
    pub fn kill(&self, missed: &'static str) {
        let _ = self.requests.send(Request::Kill(missed));
    }

    pub fn served(&self) -> u64 {
        self.served.load(Ordering::Relaxed)
    }

    pub fn has_ended(&self) -> bool {
        self.requests.is_closed()
    }

    /// Waits until the zygote has ended.
    pub async fn ended(&self) -> Ending {
        let mut ending = self.ending.clone();
        match ending.wait_for(Option::is_some).await.as_deref() {
            Ok(Some(ending)) => ending.clone(),
            _ => Ending::Exited,
        }
    }
}

/// Checks the first message of a zygote.
async fn check_ready(
    answer: io::Result<Option<Event>>,
    process: &mut Child,
    log: &mut Log,
) -> Result<Ready, EngineError> {
    let what = match answer {
        Ok(Some(Event::Ready(ready))) if ready.protocol == protocol::VERSION => return Ok(ready),
        Ok(Some(Event::Ready(ready))) => {
            format!("version {} instead of {}", ready.protocol, protocol::VERSION)
        }
        Ok(Some(Event::Broken { reason })) => {
            let _ = timeout(EXIT_WITHIN, process.wait()).await;
            return Err(EngineError::Broken { reason, log: log.last_lines(true).await });
        }
        Ok(Some(_)) => "its first message was not `ready`".to_owned(),
        Err(error) if error.kind() == io::ErrorKind::InvalidData => error.to_string(),
        // The end of the stream, or a reset.
        Ok(None) | Err(_) => {
            let exit = timeout(EXIT_WITHIN, process.wait()).await;
            let status = exit.map_or_else(|_| "it closed its socket".to_owned(), describe);
            return Err(EngineError::Exited { status, log: log.last_lines(true).await });
        }
    };
    Err(EngineError::Protocol { what, log: log.last_lines(false).await })
}

/// Reads events in a separate task, because cancelling a read loses part of a frame.
fn read_events(mut reader: OwnedReadHalf) -> mpsc::Receiver<Event> {
    let (events, received) = mpsc::channel(64);
    tokio::spawn(async move {
        loop {
            let event = tokio::select! {
                event = protocol::read(&mut reader) => event,
                () = events.closed() => return,
            };
            let event = event.inspect_err(|error| tracing::warn!(%error, "a zygote's socket failed"));
            let Ok(Some(event)) = event else { return };
            if events.send(event).await.is_err() {
                return;
            }
        }
    });
    received
}

struct Driver {
    process: Child,
    log: Log,
    writer: OwnedWriteHalf,
    events: mpsc::Receiver<Event>,
    requests: mpsc::UnboundedReceiver<Request>,
    running: HashMap<u64, RunningChild>,
    _launcher: Arc<Launcher>,
}

struct RunningChild {
    events: mpsc::UnboundedSender<Event>,
    /// Leader of the child's session, once it is known.
    pid: Option<Pid>,
}

impl Driver {
    async fn run(mut self, ended: watch::Sender<Option<Ending>>) {
        let mut ending = self.serve().await;
        // From here on requests are refused, and conversions ask for another zygote.
        self.requests.close();
        match &mut ending {
            Ending::Exited => self.let_exit().await,
            Ending::Died(what) => {
                self.kill_all().await;
                let log = self.log.last_lines(true).await;
                if let Some(line) = log.last() {
                    what.push_str(": ");
                    what.push_str(line);
                }
            }
            Ending::Unresponsive(_) => self.kill_all().await,
        }
        let _ = ended.send(Some(ending));
        // Dropping `running` closes the channels of the conversions.
    }

    async fn serve(&mut self) -> Ending {
        loop {
            tokio::select! {
                request = self.requests.recv() => match request {
                    None => return Ending::Exited,
                    Some(request) => if let Err(ending) = self.send(request).await { return ending },
                },
                event = self.events.recv() => {
                    let Some(event) = event else {
                        let exit = timeout(WRITE_WITHIN, self.process.wait()).await;
                        return exit.map_or(Ending::Unresponsive("keep its socket open"), died);
                    };
                    self.route(event);
                }
                status = self.process.wait() => {
                    // Events sent before its death still count.
                    while let Ok(Some(event)) = timeout(Duration::from_millis(100), self.events.recv()).await {
                        self.route(event);
                    }
                    return died(status);
                }
            }
        }
    }

    async fn send(&mut self, request: Request) -> Result<(), Ending> {
        let command = match request {
            Request::Kill(missed) => return Err(Ending::Unresponsive(missed)),
            Request::Cancel(id) => Command::Cancel { id },
            Request::Convert(convert, events) => {
                self.running.insert(convert.id, RunningChild { events, pid: None });
                Command::Convert(*convert)
            }
        };
        match timeout(WRITE_WITHIN, protocol::write(&mut self.writer, &command)).await {
            Ok(Ok(())) => Ok(()),
            // The socket is closed; the exit status tells why.
            Ok(Err(error)) => {
                let exit = timeout(WRITE_WITHIN, self.process.wait()).await;
                Err(exit.map_or_else(|_| Ending::Died(error.to_string()), died))
            }
            Err(_) => Err(Ending::Unresponsive("read its socket")),
        }
    }

    fn route(&mut self, event: Event) {
        let id = match &event {
            Event::Started { id, .. } | Event::Progress { id, .. } | Event::Finished { id } => *id,
            Event::Exited(exited) => exited.id,
            Event::Ready(_) | Event::Broken { .. } => {
                return tracing::warn!("a zygote sent a second greeting");
            }
        };
        let Some(running) = self.running.get_mut(&id) else { return };
        if let Event::Started { pid, .. } = &event {
            running.pid = i32::try_from(*pid).ok().and_then(Pid::from_raw);
        }
        let over = matches!(event, Event::Exited(_));
        // A conversion that no longer listens has given up on this zygote.
        let _ = running.events.send(event);
        if over {
            self.running.remove(&id);
        }
    }

    /// Closes the socket and waits for the zygote to exit; kills it if it does not.
    async fn let_exit(&mut self) {
        if tokio::io::AsyncWriteExt::shutdown(&mut self.writer).await.is_err()
            || timeout(EXIT_WITHIN, self.process.wait()).await.is_err()
        {
            self.kill_all().await;
        }
    }

    /// Kills the zygote and its children, and waits until all are dead.
    async fn kill_all(&mut self) {
        let children: Vec<Pid> = self.running.values().filter_map(|running| running.pid).collect();
        // The children come first, with everything in their sessions: their PIDs cannot be reused before the zygote
        // reaps them.
        for pid in &children {
            let _ = rustix::process::kill_process_group(*pid, Signal::KILL);
        }
        let _ = self.process.start_kill();
        let _ = self.process.wait().await;
        let gone = async {
            for pid in children {
                while is_alive(pid) {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
            }
        };
        if timeout(CHILDREN_EXIT_WITHIN, gone).await.is_err() {
            tracing::warn!("a child of a dead zygote is still alive");
        }
    }
}

/// Whether a former child of a zygote still exists. If this process is a container's init, it inherits the child and
/// must reap it.
fn is_alive(pid: Pid) -> bool {
    match rustix::process::waitpid(Some(pid), WaitOptions::NOHANG) {
        Ok(Some(_)) => false,
        Ok(None) => true,
        Err(_) => rustix::process::test_kill_process(pid).is_ok(),
    }
}

fn died(status: io::Result<ExitStatus>) -> Ending {
    Ending::Died(describe(status))
}

fn describe(status: io::Result<ExitStatus>) -> String {
    status.map_or_else(|error| error.to_string(), |status| status.to_string())
}
