//! What tests of an engine at work share: a model that takes its time, and the processes that are about it.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A motion of so many frames; Blender reads some thousand a second.
pub fn motion(frames: usize) -> String {
    let mut text = format!(
        "HIERARCHY\nROOT hips\n{{\nOFFSET 0 0 0\nCHANNELS 6 Xposition Yposition Zposition Zrotation Xrotation Yrotation\n\
         JOINT chest\n{{\nOFFSET 0 1 0\nCHANNELS 3 Zrotation Xrotation Yrotation\nEnd Site\n{{\nOFFSET 0 1 0\n}}\n}}\n}}\n\
         MOTION\nFrames: {frames}\nFrame Time: 0.03333\n",
    );
    for frame in 0..frames {
        writeln!(text, "0 {} 0 {} 0 0 {} 0 0", frame % 7, frame % 90, frame % 45).unwrap();
    }
    text
}

struct Stat {
    state: String,
    parent: i32,
    session: i32,
}

/// What a process is doing; `None` where there is no such process, or one that is only to be buried.
fn stat(pid: i32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next().filter(|state| !matches!(*state, "Z" | "X"))?.to_owned();
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { state, parent, session: fields.nth(1)?.parse().ok()? })
}

/// The processes that these have started and that are still theirs.
pub fn children(of: &[i32]) -> Vec<i32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|stat| of.contains(&stat.parent))).collect()
}

pub fn alive(pid: i32) -> bool {
    stat(pid).is_some()
}

/// Whether it has nothing to do.
pub fn sleeps(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| stat.state == "S")
}

/// The children of zygotes in which conversions run. They have a session of their own; what a zygote runs while it starts has not.
pub fn converting(zygotes: &[i32]) -> Vec<i32> {
    let leads_a_session = |pid: &i32| stat(*pid).is_some_and(|stat| stat.session == *pid);
    children(zygotes).into_iter().filter(leads_a_session).collect()
}

/// The conversions' folders that are there now, below the folder where processes have theirs.
pub fn conversions_below(work: &Path) -> Vec<PathBuf> {
    let runs = fs::read_dir(work).unwrap().map(|entry| entry.unwrap().path());
    let runs = runs.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("run-"));
    let below = |run: PathBuf| fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    runs.flat_map(below).filter(|path| path.is_dir()).collect()
}

/// The engine of this project, or the one that was asked for.
pub fn engine() -> PathBuf {
    let project = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    std::env::var_os("BLENDER_PYTHON").map_or_else(project, PathBuf::from)
}
