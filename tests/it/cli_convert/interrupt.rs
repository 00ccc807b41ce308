//! Ctrl-C while the engine works.

use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Desk, Ran};
use crate::busy_engine::{alive, children, converting, motion};

/// Longer than any step here takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// The promised second, and one more for a busy machine.
const SOON: Duration = Duration::from_secs(2);

/// Starts the conversion of two slow models, in a new process group.
fn start(desk: &Desk) -> Child {
    desk.put("a.bvh", motion(30_000));
    desk.put("b.bvh", motion(30_000));
    desk.command(&["convert", "a.bvh", "b.bvh", "-o", "out", "--to", "fbx", "-j", "2"])
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap()
}

/// Waits until the zygotes satisfy `reached`; returns them and their children.
fn until(child: &mut Child, reached: impl Fn(&[i32]) -> bool) -> Vec<i32> {
    let began = Instant::now();
    loop {
        let zygotes = children(&[child.id().cast_signed()]);
        if reached(&zygotes) {
            return [children(&zygotes), zygotes].concat();
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before it converted");
        assert!(began.elapsed() < LONG, "no conversion starts");
        std::thread::sleep(Duration::from_millis(20));
    }
}

/// Sends SIGINT to the process group, as a terminal does on Ctrl-C, and checks that nothing is left.
fn interrupt(desk: &Desk, child: Child, engine: &[i32]) {
    let asked = Instant::now();
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    assert!(asked.elapsed() < SOON, "{:?}", asked.elapsed());
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    // A killed Blender may still be freeing its memory.
    while engine.iter().any(|pid| alive(*pid)) {
        assert!(asked.elapsed() < SOON, "Blender is still there");
        std::thread::sleep(Duration::from_millis(5));
    }
    assert_eq!(ran.err.lines().last(), Some("interrupted; 0 of 2 converted"), "{}", ran.err);
    assert!(!desk.path("out").exists());
    assert_eq!(desk.run_folders(), 0);
}

#[test]
fn ctrl_c_ends_a_conversion_within_a_second() {
    let desk = Desk::new();
    let mut child = start(&desk);
    let engine = until(&mut child, |zygotes| !converting(zygotes).is_empty());
    assert_eq!(desk.run_folders(), 1);
    interrupt(&desk, child, &engine);
}

#[test]
fn ctrl_c_ends_a_starting_engine() {
    let desk = Desk::new();
    let mut child = start(&desk);
    let engine = until(&mut child, |zygotes| !zygotes.is_empty());
    interrupt(&desk, child, &engine);
}
