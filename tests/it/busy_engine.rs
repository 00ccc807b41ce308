//! Helpers for tests of a busy engine: a slow model, and the processes of a conversion.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

/// A BVH motion with this many frames; Blender reads about a thousand a second.
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

/// The state of a process; `None` if it does not exist or is a zombie.
fn stat(pid: i32) -> Option<Stat> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The process name before may contain any character.
    let mut fields = stat.rsplit_once(") ")?.1.split(' ');
    let state = fields.next().filter(|state| !matches!(*state, "Z" | "X"))?.to_owned();
    let parent = fields.next()?.parse().ok()?;
    Some(Stat { state, parent, session: fields.nth(1)?.parse().ok()? })
}

/// The child processes of these processes.
pub fn children(of: &[i32]) -> Vec<i32> {
    let pids =
        fs::read_dir("/proc").unwrap().filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    pids.filter(|pid| stat(*pid).is_some_and(|stat| of.contains(&stat.parent))).collect()
}

pub fn alive(pid: i32) -> bool {
    stat(pid).is_some()
}

/// Whether the process is idle.
pub fn sleeps(pid: i32) -> bool {
    stat(pid).is_some_and(|stat| stat.state == "S")
}

/// The children of zygotes that run conversions. Each leads a session, unlike the processes of a starting zygote.
pub fn converting(zygotes: &[i32]) -> Vec<i32> {
    let leads_a_session = |pid: &i32| stat(*pid).is_some_and(|stat| stat.session == *pid);
    children(zygotes).into_iter().filter(leads_a_session).collect()
}

/// The folders of conversions, below the run folders of the processes in `work`.
pub fn conversions_below(work: &Path) -> Vec<PathBuf> {
    let runs = fs::read_dir(work).unwrap().map(|entry| entry.unwrap().path());
    let runs = runs.filter(|path| path.file_name().unwrap().to_string_lossy().starts_with("run-"));
    let below = |run: PathBuf| fs::read_dir(run).unwrap().map(|entry| entry.unwrap().path());
    runs.flat_map(below).filter(|path| path.is_dir()).collect()
}

/// The Python in `BLENDER_PYTHON`, else that of the project.
pub fn engine() -> PathBuf {
    let project = || Path::new(env!("CARGO_MANIFEST_DIR")).join(".venv/bin/python");
    std::env::var_os("BLENDER_PYTHON").map_or_else(project, PathBuf::from)
}
