//! Shows the progress of conversions and transfers on standard error: bars on a terminal, a few plain lines elsewhere.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::domain::Stage;

/// Shortest interval between progress lines of a conversion without a terminal.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Steps of a bar.
const STEPS: f64 = 100.0;

pub struct Progress {
    /// `None` without a terminal.
    bars: Option<MultiProgress>,
    overall: Option<ProgressBar>,
}

/// One conversion's or transfer's progress; dropping it removes its bar.
pub enum Bar {
    Drawn(ProgressBar),
    /// Without a terminal; `last` is the time of the latest line.
    Plain {
        label: String,
        last: Mutex<Instant>,
    },
}

impl Progress {
    /// Draws into `bars` if there is a terminal.
    pub fn new(total: usize, bars: MultiProgress) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bars: None, overall: None };
        }
        let bar = || ProgressBar::new(total as u64).with_style(style("{bar:30} {pos} of {len}  {elapsed}"));
        let overall = (total > 1).then(|| bars.add(bar()));
        Self { bars: Some(bars), overall }
    }

    /// Whether bars are drawn.
    pub fn is_drawn(&self) -> bool {
        self.bars.is_some()
    }

    /// Adds a bar for something that starts; `label` says what, on one line.
    pub fn start(&self, label: String) -> Bar {
        let Some(bars) = &self.bars else {
            return Bar::Plain { label, last: Mutex::new(Instant::now()) };
        };
        let bar = ProgressBar::new(STEPS as u64)
            // `wide_msg` truncates the message at the end of the line.
            .with_style(style("{spinner} {bar:20} {prefix:11} {wide_msg}"))
            .with_prefix("waiting")
            .with_message(label);
        let bar = match &self.overall {
            Some(overall) => bars.insert_before(overall, bar),
            None => bars.add(bar),
        };
        bar.enable_steady_tick(Duration::from_millis(120));
        Bar::Drawn(bar)
    }

    /// Counts one more finished conversion.
    pub fn advance(&self) {
        if let Some(overall) = &self.overall {
            overall.inc(1);
        }
    }

    /// Hides the bars while `print` runs.
    pub fn print<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Removes all bars and draws none from now on.
    pub fn end(&self) {
        if let Some(bars) = &self.bars {
            // An error means that the terminal is gone, and the bars with it.
            let _ = bars.clear();
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Stops drawing and leaves the bars on the screen. The terminal has written `^C` among them, so clearing lines
    /// would clear the wrong ones.
    pub fn freeze(&self) {
        if let Some(bars) = &self.bars {
            bars.set_draw_target(ProgressDrawTarget::hidden());
            let _ = writeln!(std::io::stderr());
        }
    }
}

impl Bar {
    /// Shows that the conversion has reached `stage`, and `fraction` of it if known.
    pub fn stage(&self, stage: Stage, fraction: Option<f64>) {
        self.show(word(stage), overall(stage, fraction));
    }

    /// Prints a line about what has happened: above the bar, or at once without a terminal. There, the next line of
    /// progress comes later: it would only repeat what this one says.
    pub fn say(&self, text: &str) {
        match self {
            Bar::Drawn(bar) => bar.println(format!("{}: {text}", bar.message())),
            Bar::Plain { label, last } => {
                *last.lock().unwrap_or_else(PoisonError::into_inner) = Instant::now();
                let _ = writeln!(std::io::stderr(), "{label}: {text}");
            }
        }
    }

    /// Shows a word of at most 11 letters for what goes on, and how much of everything is done, from 0 to 1.
    pub fn show(&self, word: &'static str, done: f64) {
        match self {
            Bar::Drawn(bar) => {
                bar.set_prefix(word);
                bar.set_position((done * STEPS) as u64);
            }
            Bar::Plain { label, last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= PLAIN_EVERY {
                    *last = Instant::now();
                    let _ = writeln!(std::io::stderr(), "{label}: {word}");
                }
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Bar::Drawn(bar) = self {
            bar.finish_and_clear();
        }
    }
}

/// The stage for people, in at most 11 letters.
pub fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Scheduling => "scheduling",
        Stage::Importing => "importing",
        Stage::Processing => "processing",
        Stage::Exporting => "exporting",
        Stage::Packing => "packing",
    }
}

/// The progress of a typical conversion, from 0 to 1.
pub fn overall(stage: Stage, fraction: Option<f64>) -> f64 {
    let (start, share) = match stage {
        Stage::Scheduling => (0.0, 0.0),
        Stage::Importing => (0.0, 0.4),
        Stage::Processing => (0.4, 0.1),
        Stage::Exporting => (0.5, 0.4),
        Stage::Packing => (0.9, 0.1),
    };
    start + share * fraction.unwrap_or(0.0).clamp(0.0, 1.0)
}

fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_never_goes_backwards() {
        let mut last = -1.0;
        for stage in
            [Stage::Scheduling, Stage::Importing, Stage::Processing, Stage::Exporting, Stage::Packing]
        {
            for fraction in [None, Some(0.5), Some(1.0)] {
                let now = overall(stage, fraction);
                assert!(now >= last && (0.0..=1.0).contains(&now), "{stage:?} {fraction:?}");
                last = now;
            }
        }
        assert!((overall(Stage::Importing, Some(f64::INFINITY)) - 0.4).abs() < 1e-9);
    }

    #[test]
    fn no_progress_is_due_after_a_line_without_a_terminal() {
        let long_ago = Instant::now().checked_sub(PLAIN_EVERY).unwrap();
        let bar = Bar::Plain { label: "duck.fbx → glb".to_owned(), last: Mutex::new(long_ago) };
        bar.say("its worker was lost; queued again");
        let Bar::Plain { last, .. } = &bar else { panic!("it is drawn") };
        assert!(*last.lock().unwrap() > long_ago);
    }
}
