//! Reports clips whose length changed.

use std::collections::{HashMap, VecDeque};

use crate::domain::Format;
use crate::domain::report::{Clip, Contents};

/// Most clips named in a clause.
const MOST_NAMES: usize = 5;

/// Frames per second of clips whose rate is unknown.
const USUAL_FPS: f64 = 24.0;

/// Whether the format stores frames at a fixed rate. In other formats keys may be at any time, and frames are only
/// derived.
fn has_frames(format: Format) -> bool {
    matches!(format, Format::Bvh | Format::Blend)
}

/// Returns one clause on all clips whose length changed by more than a frame, or by any frame if both formats store
/// frames.
pub fn losses(input: &Contents, output: &Contents) -> Option<String> {
    let frames_count = has_frames(input.format) && has_frames(output.format);
    let changed: Vec<_> = pairs(&input.counts.clips, &output.counts.clips)
        .into_iter()
        .filter(|(before, after)| {
            let fps = [before.fps, after.fps].into_iter().filter(|fps| *fps > 0.0);
            let frame = 1.0 / fps.reduce(f64::min).unwrap_or(USUAL_FPS);
            // Files keep times as floats.
            (before.seconds - after.seconds).abs() > frame * 1.01
                || (frames_count && before.frames != after.frames && same_rate(before, after))
        })
        .collect();
    let how = |(before, after): &(&Clip, &Clip)| match (seconds(before), seconds(after)) {
        (old, new) if old == new => format!("{} frames → {}", before.frames, after.frames),
        (old, new) => format!("{old} s → {new} s"),
    };
    match changed.as_slice() {
        [] => None,
        [only @ (before, after)] => {
            let shorter = after.seconds < before.seconds || after.frames < before.frames;
            let became = if shorter { "shorter" } else { "longer" };
            Some(format!("clip {:?} became {became}: {}", before.name, how(only)))
        }
        several => {
            let named = several.iter().map(|pair| format!("{:?} {}", pair.0.name, how(pair)));
            let mut list: Vec<String> = named.take(MOST_NAMES).collect();
            if several.len() > MOST_NAMES {
                list.push(format!("and {} more", several.len() - MOST_NAMES));
            }
            Some(format!("{} clips changed their length: {}", several.len(), list.join(", ")))
        }
    }
}

fn same_rate(before: &Clip, after: &Clip) -> bool {
    (before.fps - after.fps).abs() < 0.01 * before.fps
}

/// Pairs the clips of each name in their order. The only clips of two models are a pair whatever their names, because a
/// format may rename its only clip.
fn pairs<'a>(before: &'a [Clip], after: &'a [Clip]) -> Vec<(&'a Clip, &'a Clip)> {
    if let ([only], [other]) = (before, after) {
        return vec![(only, other)];
    }
    let mut by_name: HashMap<&str, VecDeque<&Clip>> = HashMap::new();
    for clip in after {
        by_name.entry(&clip.name).or_default().push_back(clip);
    }
    before.iter().filter_map(|clip| Some((clip, by_name.get_mut(clip.name.as_str())?.pop_front()?))).collect()
}

/// The length in seconds, with one to three decimals.
fn seconds(clip: &Clip) -> String {
    let text = format!("{:.3}", clip.seconds);
    let short = text.trim_end_matches('0');
    if short.ends_with('.') { format!("{short}0") } else { short.to_owned() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::report::Counts;

    fn clip(name: &str, frames: u64, fps: f64) -> Clip {
        Clip { name: name.to_owned(), frames, seconds: (frames - 1) as f64 / fps, fps }
    }

    fn compared(from: (Format, &[Clip]), to: (Format, &[Clip])) -> Option<String> {
        let contents = |(format, clips): (Format, &[Clip])| Contents {
            format,
            bytes: 1,
            files: 1,
            counts: Counts { clips: clips.to_vec(), ..Counts::default() },
        };
        losses(&contents(from), &contents(to))
    }

    #[test]
    fn a_changed_clip_length_is_reported() {
        let run = [clip("Run", 25, 24.0), clip("Walk", 49, 24.0)];
        let short = [clip("Walk", 49, 24.0), clip("Run", 17, 24.0)];
        let said = compared((Format::Glb, &run), (Format::Fbx, &short)).unwrap();
        assert_eq!(said, "clip \"Run\" became shorter: 1.0 s → 0.667 s");
        let long = [clip("take", 50, 24.0)];
        let said = compared((Format::Glb, &run[..1]), (Format::Bvh, &long)).unwrap();
        assert_eq!(said, "clip \"Run\" became longer: 1.0 s → 2.042 s");
        let both = [clip("Run", 13, 24.0), clip("Walk", 73, 24.0)];
        let said = compared((Format::Glb, &run), (Format::Fbx, &both)).unwrap();
        assert_eq!(said, "2 clips changed their length: \"Run\" 1.0 s → 0.5 s, \"Walk\" 2.0 s → 3.0 s");
        let many: Vec<_> = (0..9).map(|number| clip(&number.to_string(), 25, 24.0)).collect();
        let halves: Vec<_> = (0..9).map(|number| clip(&number.to_string(), 13, 24.0)).collect();
        let said = compared((Format::Glb, &many), (Format::Fbx, &halves)).unwrap();
        assert!(said.starts_with("9 clips") && said.ends_with("\"4\" 1.0 s → 0.5 s, and 4 more"), "{said}");
    }

    #[test]
    fn one_frame_matters_in_formats_that_store_frames() {
        let (all, fewer) = ([clip("Run", 25, 24.0)], [clip("Run", 24, 24.0)]);
        assert_eq!(compared((Format::Glb, &all), (Format::Fbx, &fewer)), None);
        let said = compared((Format::Blend, &all), (Format::Bvh, &fewer)).unwrap();
        assert_eq!(said, "clip \"Run\" became shorter: 1.0 s → 0.958 s");
        // Frames at different rates are not compared.
        assert_eq!(compared((Format::Blend, &all), (Format::Bvh, &[clip("Run", 31, 30.0)])), None);
        let same_time = [Clip { frames: 24, ..all[0].clone() }];
        let said = compared((Format::Blend, &all), (Format::Bvh, &same_time)).unwrap();
        assert_eq!(said, "clip \"Run\" became shorter: 25 frames → 24");
        // A clip that is gone has no pair; clips without a rate are compared at a usual one.
        assert_eq!(compared((Format::Glb, &all), (Format::Stl, &[])), None);
        let still = [Clip { fps: 0.0, ..clip("Run", 1, 24.0) }];
        assert_eq!(compared((Format::Glb, &still), (Format::Fbx, &still)), None);
    }

    #[test]
    fn clips_with_equal_names_are_compared_in_order() {
        let two = [clip("Run", 25, 24.0), clip("Run", 49, 24.0)];
        assert_eq!(compared((Format::Glb, &two), (Format::Gltf, &two)), None);
    }
}
