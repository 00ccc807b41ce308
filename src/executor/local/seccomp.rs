//! The seccomp program that limits the system calls of a zygote's children.
//!
//! A child needs files, memory and threads. The lists name refused calls rather than allowed ones, because the calls of
//! Blender and its drivers differ from release to release; numbers above the known ones are refused as a whole.
//! Landlock guards files (`blender/meshgate_engine/runtime/sandbox.py`, which also loads this program). This program
//! guards what landlock does not: other processes, sockets, and the attributes of files.
//!
//! There are three answers. Calls that no honest conversion makes get `EPERM`. Calls that the C library tries first and
//! does without get `ENOSYS`. Changes of modes, owners and times get success and are not made: add-ons ask for them
//! when they copy a texture, and they would reach files outside the conversion's folder.

use std::collections::BTreeMap;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use libc::{c_int, c_long};
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch, sock_filter,
};

/// System calls from this number on came after Linux 5.17 and are all refused; so are those of the x32 ABI, whose
/// numbers are the usual ones with bit 30 set. From 424 on all architectures share their numbers.
const FIRST_UNKNOWN: c_long = 450;

/// Calls answered with `ENOSYS`; the C library does without them.
const ABSENT: &[&[c_long]] = &[
    // Their flags are behind a pointer, where no filter sees them; instead of `clone3`, the C library uses `clone`.
    &[libc::SYS_clone3, libc::SYS_openat2],
    // Makes refused calls through a queue.
    &[libc::SYS_io_uring_setup, libc::SYS_io_uring_enter, libc::SYS_io_uring_register],
    // Fills the disk faster than the zygote checks it, unlike writing. (`ioctl` can do the same, see below.)
    &[libc::SYS_fallocate],
    // Starts writes that go on after the process has ended.
    &[libc::SYS_io_setup],
];

/// Calls that get success but are not made.
const PRETENDED: &[&[c_long]] = &[
    &[libc::SYS_fchmod, libc::SYS_fchmodat, libc::SYS_fchown, libc::SYS_fchownat, libc::SYS_utimensat],
    &[libc::SYS_setxattr, libc::SYS_lsetxattr, libc::SYS_fsetxattr],
    &[libc::SYS_removexattr, libc::SYS_lremovexattr, libc::SYS_fremovexattr],
    // Reach other processes of the same user; thread libraries call them for themselves.
    &[libc::SYS_sched_setaffinity, libc::SYS_sched_setattr, libc::SYS_sched_setparam],
    &[libc::SYS_sched_setscheduler, libc::SYS_setpriority, libc::SYS_ioprio_set],
    #[cfg(target_arch = "x86_64")]
    &[libc::SYS_chmod, libc::SYS_chown, libc::SYS_lchown],
    #[cfg(target_arch = "x86_64")]
    &[libc::SYS_utime, libc::SYS_utimes, libc::SYS_futimesat],
];

/// Calls refused whatever their arguments.
const REFUSED: &[&[c_long]] = &[
    // Sockets of every kind.
    &[libc::SYS_socket, libc::SYS_socketpair, libc::SYS_connect, libc::SYS_bind, libc::SYS_listen],
    &[libc::SYS_accept, libc::SYS_accept4, libc::SYS_sendto, libc::SYS_sendmsg, libc::SYS_sendmmsg],
    // Other programs and processes. (`clone` below.)
    &[libc::SYS_execve, libc::SYS_execveat, libc::SYS_setsid, libc::SYS_setpgid],
    // Signals. A C library that may not send itself SIGABRT ends by an illegal instruction instead.
    &[libc::SYS_kill, libc::SYS_tkill, libc::SYS_tgkill],
    &[libc::SYS_rt_sigqueueinfo, libc::SYS_rt_tgsigqueueinfo],
    &[libc::SYS_pidfd_open, libc::SYS_pidfd_send_signal, libc::SYS_pidfd_getfd],
    // The memory and the state of other processes.
    &[libc::SYS_process_vm_readv, libc::SYS_process_vm_writev],
    &[libc::SYS_process_madvise, libc::SYS_process_mrelease, libc::SYS_move_pages, libc::SYS_migrate_pages],
    &[libc::SYS_ptrace, libc::SYS_kcmp, libc::SYS_perf_event_open, libc::SYS_get_robust_list],
    // Links that a reader of the result would follow, and files that landlock does not see.
    &[libc::SYS_symlinkat, libc::SYS_linkat, libc::SYS_mknodat, libc::SYS_truncate],
    &[libc::SYS_name_to_handle_at, libc::SYS_open_by_handle_at, libc::SYS_quotactl, libc::SYS_quotactl_fd],
    &[libc::SYS_inotify_add_watch, libc::SYS_fanotify_init, libc::SYS_fanotify_mark],
    // Memory that no limit of the process counts, or that outlives the process.
    &[libc::SYS_memfd_create, libc::SYS_memfd_secret, libc::SYS_mlockall],
    &[libc::SYS_shmget, libc::SYS_shmat, libc::SYS_shmctl],
    &[libc::SYS_semget, libc::SYS_semop, libc::SYS_semtimedop, libc::SYS_semctl],
    &[libc::SYS_msgget, libc::SYS_msgsnd, libc::SYS_msgrcv, libc::SYS_msgctl],
    &[libc::SYS_mq_open, libc::SYS_mq_unlink],
    // Identity and further privileges.
    &[libc::SYS_setuid, libc::SYS_setreuid, libc::SYS_setresuid, libc::SYS_setfsuid],
    &[libc::SYS_setgid, libc::SYS_setregid, libc::SYS_setresgid, libc::SYS_setfsgid, libc::SYS_setgroups],
    &[libc::SYS_capset, libc::SYS_personality, libc::SYS_seccomp],
    &[libc::SYS_keyctl, libc::SYS_add_key, libc::SYS_request_key],
    // Namespaces and mounts.
    &[libc::SYS_unshare, libc::SYS_setns, libc::SYS_pivot_root, libc::SYS_chroot],
    &[libc::SYS_mount, libc::SYS_umount2, libc::SYS_move_mount, libc::SYS_open_tree, libc::SYS_mount_setattr],
    &[libc::SYS_fsopen, libc::SYS_fsconfig, libc::SYS_fsmount, libc::SYS_fspick],
    // The kernel.
    &[libc::SYS_bpf, libc::SYS_userfaultfd, libc::SYS_acct, libc::SYS_syslog, libc::SYS_vhangup],
    &[libc::SYS_init_module, libc::SYS_finit_module, libc::SYS_delete_module],
    &[libc::SYS_kexec_load, libc::SYS_kexec_file_load, libc::SYS_reboot],
    &[libc::SYS_swapon, libc::SYS_swapoff, libc::SYS_lookup_dcookie, libc::SYS_nfsservctl],
    &[libc::SYS_sethostname, libc::SYS_setdomainname, libc::SYS_settimeofday],
    &[libc::SYS_clock_settime, libc::SYS_clock_adjtime, libc::SYS_adjtimex],
    #[cfg(target_arch = "x86_64")]
    &[libc::SYS_fork, libc::SYS_vfork, libc::SYS_symlink, libc::SYS_link, libc::SYS_mknod],
    #[cfg(target_arch = "x86_64")]
    &[libc::SYS_iopl, libc::SYS_ioperm, libc::SYS_modify_ldt, libc::SYS_uselib],
    #[cfg(target_arch = "x86_64")]
    &[libc::SYS_ustat, libc::SYS_sysfs, libc::SYS__sysctl],
];

/// The program for this machine, base64 of an array of `struct sock_filter`; empty if it is not supported. An error is a
/// mistake in this file.
pub fn seccomp_program() -> Result<String, seccompiler::Error> {
    let Ok(machine) = TargetArch::try_from(std::env::consts::ARCH) else {
        return Ok(String::new());
    };
    let mut bytes = Vec::new();
    for instruction in program(machine)? {
        bytes.extend(instruction.code.to_ne_bytes());
        bytes.extend([instruction.jt, instruction.jf]);
        bytes.extend(instruction.k.to_ne_bytes());
    }
    Ok(STANDARD.encode(bytes))
}

fn program(machine: TargetArch) -> Result<BpfProgram, seccompiler::Error> {
    let refuse = SeccompAction::Errno(libc::EPERM as u32);
    let filter = SeccompFilter::new(refused_by_argument()?, SeccompAction::Allow, refuse, machine)?;
    let filter: BpfProgram = filter.try_into()?;
    // The filter's jumps are relative and it loads its own data, so a prologue does not disturb it. It also kills on
    // the calls of another architecture.
    Ok([prologue(), filter].concat())
}

/// Calls between two jumps of the prologue.
const GROUP: usize = 16;

/// Answers the calls whose arguments do not matter. `seccompiler` knows one answer besides "allowed" and compares one
/// call after the other. The kernel tries every call once when a filter is installed, which took half a millisecond of
/// each conversion. Here a call passes one jump for each group before its own.
fn prologue() -> BpfProgram {
    let answer = |errno: c_int| u32::from(SeccompAction::Errno(errno as u32));
    let mut answers = BTreeMap::new();
    for (calls, errno) in [(ABSENT, libc::ENOSYS), (PRETENDED, 0), (REFUSED, libc::EPERM)] {
        answers.extend(calls.concat().into_iter().map(|number| (number, answer(errno))));
    }
    let answers: Vec<(c_long, u32)> = answers.into_iter().collect();

    let mut groups = BpfProgram::new();
    // Each group jumps over those that follow it, so the last is written first.
    for group in answers.chunks(GROUP).rev() {
        let last = group[group.len() - 1].0;
        let beyond = 2 * group.len() as u8 + 1;
        let mut code = vec![instruction(JUMP_IF_ABOVE, beyond, 0, last as u32)];
        for (number, answer) in group {
            code.extend([
                instruction(JUMP_IF_EQUAL, 0, 1, *number as u32),
                instruction(ANSWER, 0, 0, *answer),
            ]);
        }
        code.push(instruction(JUMP, 0, 0, groups.len() as u32));
        groups.splice(..0, code);
    }
    let unknown = [
        instruction(LOAD_NUMBER, 0, 0, 0),
        instruction(JUMP_IF_AT_LEAST, 0, 1, FIRST_UNKNOWN as u32),
        instruction(ANSWER, 0, 0, answer(libc::ENOSYS)),
    ];
    [unknown.to_vec(), groups].concat()
}

const LOAD_NUMBER: u16 = 0x20;
const JUMP: u16 = 0x05;
const JUMP_IF_EQUAL: u16 = 0x15;
const JUMP_IF_ABOVE: u16 = 0x25;
const JUMP_IF_AT_LEAST: u16 = 0x35;
const ANSWER: u16 = 0x06;

const fn instruction(code: u16, jt: u8, jf: u8, k: u32) -> sock_filter {
    sock_filter { code, jt, jf, k }
}

/// Calls refused with some arguments only.
fn refused_by_argument() -> Result<BTreeMap<c_long, Vec<SeccompRule>>, seccompiler::Error> {
    use SeccompCmpOp::{Eq, MaskedEq, Ne};

    let any_of = |argument, values: &[u64]| {
        values.iter().map(|value| rule(argument, Eq, *value)).collect::<Result<Vec<_>, _>>()
    };
    // `O_TRUNC` empties even a file that is opened for reading, and landlock checks no right for it before version 3.
    let emptied = (libc::O_ACCMODE | libc::O_TRUNC) as u64;
    let truncating = |argument| rule(argument, MaskedEq(emptied), libc::O_TRUNC as u64);
    let mut rules = BTreeMap::from([
        // Threads only, no processes.
        (libc::SYS_clone, vec![rule(0, MaskedEq(libc::CLONE_THREAD as u64), 0)?]),
        // Only its own limits, which it cannot raise.
        (libc::SYS_prlimit64, vec![rule(0, Ne, 0)?]),
        // Signals through the owner of a descriptor.
        (libc::SYS_fcntl, any_of(1, &[libc::F_SETOWN as u64, F_SETSIG, F_SETOWN_EX])?),
        (libc::SYS_ioctl, vec![none_of(1, ALLOWED_IOCTLS)?]),
        (
            libc::SYS_prctl,
            any_of(
                0,
                &[
                    libc::PR_SET_PDEATHSIG as u64,
                    libc::PR_SET_DUMPABLE as u64,
                    libc::PR_SET_MM as u64,
                    libc::PR_SET_CHILD_SUBREAPER as u64,
                    libc::PR_SET_PTRACER as u64,
                ],
            )?,
        ),
        (libc::SYS_openat, vec![truncating(2)?]),
    ]);
    #[cfg(target_arch = "x86_64")]
    rules.insert(libc::SYS_open, vec![truncating(1)?]);
    Ok(rules)
}

const F_SETSIG: u64 = 10;
const F_SETOWN_EX: u64 = 15;

/// The allowed requests of `ioctl`. The C library and Python ask whether a file is a terminal and how wide it is, how
/// much there is to read, and set flags of descriptors. Requests of file systems (`FS_IOC_RESVSP`, `FS_IOC_ZERO_RANGE`,
/// `FICLONE` and others) reserve space that no limit of the process counts, or change attributes of files.
const ALLOWED_IOCTLS: &[libc::Ioctl] =
    &[libc::TCGETS, libc::TIOCGWINSZ, libc::FIONREAD, libc::FIONBIO, libc::FIOCLEX, libc::FIONCLEX];

/// A rule that refuses a call unless its argument is one of the `values`.
fn none_of(argument: u8, values: &[libc::Ioctl]) -> Result<SeccompRule, seccompiler::Error> {
    let other_than = |value: &libc::Ioctl| {
        SeccompCondition::new(argument, SeccompCmpArgLen::Dword, SeccompCmpOp::Ne, u64::from(*value as u32))
    };
    Ok(SeccompRule::new(values.iter().map(other_than).collect::<Result<_, _>>()?)?)
}

fn rule(argument: u8, operator: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::Error> {
    let condition = SeccompCondition::new(argument, SeccompCmpArgLen::Dword, operator, value)?;
    Ok(SeccompRule::new(vec![condition])?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_seccomp_program_fits_the_kernel_limit() {
        let program = program(TargetArch::try_from(std::env::consts::ARCH).unwrap()).unwrap();
        // Below BPF_MAXINSNS; an allowed call runs through all of it.
        assert!(program.len() < 1024, "{} instructions", program.len());
        assert_eq!(STANDARD.decode(seccomp_program().unwrap()).unwrap().len(), program.len() * 8);
    }

    #[test]
    fn no_system_call_is_listed_twice() {
        let mut numbers = [ABSENT, PRETENDED, REFUSED].concat().concat();
        numbers.extend(refused_by_argument().unwrap().keys());
        let count = numbers.len();
        numbers.sort_unstable();
        numbers.dedup();
        assert_eq!(numbers.len(), count);
        assert!(numbers.iter().all(|number| *number < FIRST_UNKNOWN));
    }
}
