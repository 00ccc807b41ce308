//! Counts a BVH: joints and one clip. `bones` are the root and its joints; an `End Site` is not a bone.

use std::path::Path;
use std::str::FromStr;

use super::frame_rate::tidy_fps;
use super::lines::{Lines, number, words};
use crate::domain::report::{Clip, Counts};
use crate::domain::{Cancel, ConversionError};
use crate::formats::gltf::malformed;

pub fn inspect(path: &Path, cancel: &Cancel) -> Result<Counts, ConversionError> {
    let mut lines = Lines::open(path, cancel)?;
    let mut counts = Counts::default();
    let mut channels: u64 = 0;
    let mut head = false;
    loop {
        let Some(line) = lines.next_text()? else {
            return Err(lines.error("is the end of the file, before any MOTION"));
        };
        // Some writers put braces and keywords on one line.
        for part in line.split(['{', '}']) {
            let mut words = part.split_ascii_whitespace();
            while let Some(word) = words.next() {
                match word.to_ascii_uppercase().as_str() {
                    "HIERARCHY" => head = true,
                    "ROOT" | "JOINT" if head => {
                        counts.bones += 1;
                        // A name follows, which may be any word.
                        break;
                    }
                    "CHANNELS" => {
                        let count = words.next().and_then(|count| count.parse().ok());
                        channels = channels.saturating_add(count.unwrap_or(0));
                    }
                    _ => {}
                }
            }
        }
        if !head {
            return Err(lines.error("is not the HIERARCHY that a BVH file begins with"));
        }
        if line.eq_ignore_ascii_case("MOTION") {
            break;
        }
    }
    if counts.bones == 0 {
        return Err(lines.error("comes before any joint"));
    }
    let frames = labelled::<u64>(&mut lines, "frames:")?;
    let frame_time = labelled::<f64>(&mut lines, "frame time:")?;
    let Some((frames, frame_time)) = frames.zip(frame_time) else {
        return Err(lines.error("does not follow a number of frames and their time"));
    };
    if !frame_time.is_finite() || frame_time < 0.0 {
        return Err(lines.error("has an invalid frame time"));
    }
    check_frames(&mut lines, frames, channels)?;

    let fps = if frame_time > 0.0 { tidy_fps(1.0 / frame_time) } else { 0.0 };
    let seconds = if fps > 0.0 { frames.saturating_sub(1) as f64 / fps } else { 0.0 };
    let name = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
    counts.objects = 1;
    if frames > 0 {
        counts.clips.push(Clip { name, frames, seconds, fps });
    }
    Ok(counts)
}

/// Returns the number after `label` on the next line, `None` if something else is there.
fn labelled<T: FromStr>(lines: &mut Lines, label: &str) -> Result<Option<T>, ConversionError> {
    let line = lines.next_text()?.unwrap_or_default().to_ascii_lowercase();
    match line.strip_prefix(label) {
        Some(rest) => Ok(rest.trim().parse().ok()),
        None => Err(lines.error(&format!("is not {label:?}"))),
    }
}

/// Checks that no value of any frame is missing; line ends do not matter.
fn check_frames(lines: &mut Lines, frames: u64, channels: u64) -> Result<(), ConversionError> {
    let expected = frames.saturating_mul(channels);
    let mut seen: u64 = 0;
    while seen < expected {
        let Some(line) = lines.next()? else {
            let found = seen / channels.max(1);
            return Err(malformed(format!("the file is truncated: {found} of {frames} frames are there")));
        };
        if !words(line).inspect(|_| seen += 1).all(|word| number::<f64>(word).is_some()) {
            return Err(lines.error("holds something that is not a number"));
        }
    }
    Ok(())
}
