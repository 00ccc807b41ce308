//! The errors of jobs that are not tried again.

use std::fmt::Display;

use super::job::GiveBack;
use crate::domain::{ConversionError, ErrorCode};

/// The error of a job whose last attempt was given back for this reason; `None` if such attempts do not count. `lost`: the
/// number of workers that died.
pub fn of_last(reason: GiveBack, lost: impl Display) -> Option<ConversionError> {
    match reason {
        GiveBack::OutOfMemory => Some(out_of_memory()),
        GiveBack::EngineLost => Some(engine_lost()),
        GiveBack::DiskFull => Some(disk_full()),
        GiveBack::WorkerLost => Some(workers_lost(lost)),
        GiveBack::Stopping
        | GiveBack::EngineUnavailable
        | GiveBack::StoreUnavailable
        | GiveBack::Unschedulable
        | GiveBack::ClusterBusy => None,
    }
}

/// The attempt ran out of memory, and there is no other one with more.
fn out_of_memory() -> ConversionError {
    let detail = "the conversion ran out of memory; give the model less detail, or raise WORKER_MEMORY_LIMIT";
    ConversionError::new(ErrorCode::MemoryLimit, detail)
}

/// The disk of the worker was full at each attempt.
fn disk_full() -> ConversionError {
    let detail =
        "the disk of the worker was too full for this conversion at each attempt; free some space there";
    ConversionError::new(ErrorCode::DiskFull, detail)
}

/// Blender went down during each attempt.
fn engine_lost() -> ConversionError {
    let detail = "blender went down during each attempt of this job, so it is not tried again";
    ConversionError::new(ErrorCode::EngineCrashed, detail)
}

/// `lost`: the number of workers that died.
pub fn workers_lost(lost: impl Display) -> ConversionError {
    let detail = format!("the workers that ran this job died {lost} times, so it is not tried again");
    ConversionError::new(ErrorCode::EngineCrashed, detail)
}

/// Another version of the program wrote the record, in a way that this one cannot read.
pub fn unreadable() -> ConversionError {
    ConversionError::new(ErrorCode::Internal, "another version of the service wrote this job")
}
