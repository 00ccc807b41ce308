//! Ctrl-C while the engine works.

use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Desk, Ran};
use crate::at_work::{alive, children, motion};

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// The promise is one second; a busy machine gets another.
const SOON: Duration = Duration::from_secs(2);

/// Waits until a conversion is under way; every process of the engine.
fn until_it_converts(child: &mut Child) -> Vec<i32> {
    let began = Instant::now();
    loop {
        let zygotes = children(&[child.id().cast_signed()]);
        let forked = children(&zygotes);
        if !forked.is_empty() {
            return [zygotes, forked].concat();
        }
        assert!(child.try_wait().unwrap().is_none(), "it ended before it converted");
        assert!(began.elapsed() < LONG, "no conversion starts");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn ctrl_c_ends_a_conversion_within_a_second_and_leaves_nothing() {
    let desk = Desk::new();
    // Many seconds of work.
    desk.put("a.bvh", motion(30_000));
    desk.put("b.bvh", motion(30_000));
    let mut child = desk
        .command(&["convert", "a.bvh", "b.bvh", "-o", "out", "--to", "fbx", "-j", "2"])
        // A terminal signals the whole group in front.
        .process_group(0)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let engine = until_it_converts(&mut child);
    assert_eq!(desk.run_folders(), 1);

    let asked = Instant::now();
    kill_process_group(Pid::from_child(&child), Signal::INT).unwrap();
    let ran = Ran::of(&child.wait_with_output().unwrap());
    let took = asked.elapsed();
    assert_eq!(ran.code, Some(130), "{}", ran.err);
    assert!(took < SOON, "{took:?}");
    assert!(!engine.into_iter().any(alive), "Blender is still there");
    assert_eq!(ran.err.lines().last(), Some("interrupted; 0 of 2 converted"), "{}", ran.err);
    assert!(!desk.path("out").exists());
    assert_eq!(desk.run_folders(), 0);
}
