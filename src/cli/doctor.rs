//! `meshgate doctor`: is this machine ready? A line for each thing that conversions need.

use std::fs;
use std::path::Path;
use std::process::{Command, ExitCode, Stdio};
use std::time::{Duration, Instant};

use super::{FAILED, Failure, say, wire, words};

/// Less free space than this is trouble, in bytes.
const ENOUGH_DISK: u64 = 1 << 30;

/// An engine that has not started by then does not start.
const START_LIMIT: Duration = Duration::from_mins(1);

/// Check this machine: engine, sandbox, disk. Exit code 1 on trouble.
#[derive(Debug, clap::Args)]
pub struct Args {}

/// What was found: good news, or the trouble.
type Finding = Result<String, String>;

/// Checks and prints.
///
/// # Errors
/// When standard output is gone; trouble that was found is in the exit code.
pub fn run(_args: &Args) -> Result<ExitCode, Failure> {
    let mut trouble = false;
    let mut report = |name: &str, finding: Finding| {
        trouble |= finding.is_err();
        say(line(name, &finding))
    };
    match wire::engine() {
        Ok((program, full)) => {
            report("engine", Ok(program.display().to_string()))?;
            report("engine starts", starts(&program, full))?;
        }
        Err(reason) => report("engine", Err(reason))?,
    }
    report("sandbox: landlock", landlock(fs::read_to_string("/sys/kernel/security/lsm").ok().as_deref()))?;
    report("sandbox: seccomp", seccomp(Path::new("/proc/sys/kernel/seccomp/actions_avail")))?;
    let folder = std::env::temp_dir();
    report("work folder", writable(&folder))?;
    report("disk space", disk(&folder))?;
    Ok(if trouble { ExitCode::from(FAILED) } else { ExitCode::SUCCESS })
}

fn line(name: &str, finding: &Finding) -> String {
    match finding {
        Ok(text) => format!("✓ {name}: {text}"),
        Err(text) => format!("✗ {name}: {text}"),
    }
}

fn starts(program: &Path, full: bool) -> Finding {
    let mut command = Command::new(program);
    if full {
        command.arg("--version");
    } else {
        command.args(["-I", "-c", "import bpy; print('Blender', bpy.app.version_string)"]);
    }
    let started = Instant::now();
    let mut child = command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| format!("it does not run: {error}"))?;
    loop {
        match child.try_wait() {
            Ok(Some(_)) => break,
            Ok(None) if started.elapsed() < START_LIMIT => std::thread::sleep(Duration::from_millis(20)),
            _ => {
                let _ = child.kill();
                let _ = child.wait();
                return Err(format!("it did not start within {} s", START_LIMIT.as_secs()));
            }
        }
    }
    let output = child.wait_with_output().map_err(|error| format!("it does not run: {error}"))?;
    let text = String::from_utf8_lossy(&output.stdout);
    if let Some(version) =
        text.lines().find(|line| line.starts_with("Blender ")).filter(|_| output.status.success())
    {
        return Ok(format!("{version} in {}", words::duration(started.elapsed().as_secs_f64())));
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    Err(complaint
        .lines()
        .rfind(|line| !line.trim().is_empty())
        .unwrap_or("it says nothing")
        .trim()
        .to_owned())
}

/// `modules` is the kernel's list of security modules, where it can be read.
fn landlock(modules: Option<&str>) -> Finding {
    match modules {
        Some(list) if list.trim().split(',').any(|module| module == "landlock") => {
            Ok("in the kernel".to_owned())
        }
        Some(_) => Err("this kernel lacks it; conversions can read files that are not theirs".to_owned()),
        None => Ok("the kernel does not tell; the engine tries it when it starts".to_owned()),
    }
}

fn seccomp(actions: &Path) -> Finding {
    if actions.exists() {
        return Ok("in the kernel".to_owned());
    }
    Err("this kernel lacks it; conversions can open sockets and start programs".to_owned())
}

fn writable(folder: &Path) -> Finding {
    match tempfile::Builder::new().prefix("meshgate-").tempfile_in(folder) {
        Ok(_) => Ok(format!("{} can be written", folder.display())),
        Err(error) => Err(format!("{} cannot be written: {error}", folder.display())),
    }
}

fn disk(folder: &Path) -> Finding {
    let status = rustix::fs::statvfs(folder).map_err(|error| format!("cannot be told: {error}"))?;
    let free = status.f_bavail.saturating_mul(status.f_frsize);
    let text = format!("{} free in {}", words::bytes(free), folder.display());
    if free >= ENOUGH_DISK { Ok(text) } else { Err(text) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_kernel_without_landlock_is_trouble() {
        assert!(landlock(Some("capability,landlock,yama\n")).is_ok());
        assert!(landlock(Some("capability,yama\n")).is_err());
    }

    #[test]
    fn an_engine_that_fails_is_quoted() {
        assert!(starts(Path::new("/nowhere/python"), false).is_err());
        assert_eq!(starts(Path::new("/bin/false"), false).unwrap_err(), "it says nothing");
    }

    #[test]
    fn a_folder_that_is_not_there_is_trouble() {
        assert!(writable(Path::new("/nowhere")).is_err());
        assert!(disk(Path::new("/nowhere")).is_err());
    }
}
