//! Ctrl-C while the engine works.

use std::collections::HashMap;
use std::fmt::Write as _;
use std::fs;
use std::os::unix::process::CommandExt;
use std::process::{Child, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process_group};

use super::{Desk, Ran};

/// Longer than anything here takes on a busy machine.
const LONG: Duration = Duration::from_mins(1);

/// The promise is one second; a busy machine gets another.
const SOON: Duration = Duration::from_secs(2);

/// A motion that takes the engine many seconds.
fn long_motion() -> String {
    let mut text = String::from(
        "HIERARCHY\nROOT hips\n{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n\
         JOINT chest\n{\nOFFSET 0 1 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nEnd Site\n{\nOFFSET 0 1 0\n}\n}\n}\n\
         MOTION\nFrames: 30000\nFrame Time: 0.03333\n",
    );
    for frame in 0..30_000 {
        writeln!(text, "0 {} 0 {} 0 0 {} 0 0", frame % 7, frame % 90, frame % 45).unwrap();
    }
    text
}

/// Every process with its parent; zombies are gone.
fn parents() -> HashMap<i32, i32> {
    let mut parents = HashMap::new();
    for entry in fs::read_dir("/proc").unwrap().filter_map(Result::ok) {
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        let Ok(stat) = fs::read_to_string(entry.path().join("stat")) else { continue };
        // The name before it may hold anything.
        let Some((_, rest)) = stat.rsplit_once(") ") else { continue };
        let mut fields = rest.split(' ');
        let (state, parent) = (fields.next(), fields.next());
        if state != Some("Z") {
            parents.insert(pid, parent.unwrap().parse().unwrap());
        }
    }
    parents
}

/// The zygote, and the children that it forked.
fn engine_of(meshgate: i32) -> (Vec<i32>, Vec<i32>) {
    let parents = parents();
    let children = |of: &[i32]| -> Vec<i32> {
        parents.iter().filter(|(_, parent)| of.contains(parent)).map(|(pid, _)| *pid).collect()
    };
    let zygotes = children(&[meshgate]);
    let forked = children(&zygotes);
    (zygotes, forked)
}

/// Waits until a conversion is under way; every process of the engine.
fn until_it_converts(child: &mut Child) -> Vec<i32> {
    let began = Instant::now();
    loop {
        let (zygotes, forked) = engine_of(child.id().cast_signed());
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
    desk.put("a.bvh", long_motion());
    desk.put("b.bvh", long_motion());
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
    let left = parents();
    assert!(!engine.iter().any(|pid| left.contains_key(pid)), "Blender is still there");
    assert_eq!(ran.err.lines().last(), Some("interrupted; 0 of 2 converted"), "{}", ran.err);
    assert!(!desk.path("out").exists());
    assert_eq!(desk.run_folders(), 0);
}
