//! Shows how far the conversions are: bars on a terminal, a few plain lines elsewhere. All on standard error.

use std::io::{IsTerminal, Write};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

use super::plan::Job;
use crate::cli::{Failure, humanize};
use crate::domain::Stage;

/// Without a terminal, a conversion says where it is this often at most.
const PLAIN_EVERY: Duration = Duration::from_secs(10);

/// Steps of a bar: a hundredth each.
const STEPS: f64 = 100.0;

pub struct Progress {
    /// `None` where there is no terminal.
    bars: Option<MultiProgress>,
    overall: Option<ProgressBar>,
}

/// One conversion's progress; its bar goes when this is dropped.
pub struct Bar {
    kind: Kind,
}

enum Kind {
    Drawn(ProgressBar),
    Plain { label: String, last: Mutex<Instant> },
}

impl Progress {
    /// Draws into `bars` where there is a terminal.
    pub fn new(total: usize, bars: MultiProgress) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self { bars: None, overall: None };
        }
        let overall = (total > 1).then(|| {
            let bar = ProgressBar::new(total as u64).with_style(style("{bar:30} {pos} of {len}  {elapsed}"));
            bars.add(bar)
        });
        Self { bars: Some(bars), overall }
    }

    /// Whether the user sees how far it is.
    pub fn is_drawn(&self) -> bool {
        self.bars.is_some()
    }

    /// A conversion starts.
    pub fn start(&self, job: &Job) -> Bar {
        let label = format!("{} → {}", humanize::name(&job.input.name()), job.target);
        let Some(bars) = &self.bars else {
            return Bar { kind: Kind::Plain { label, last: Mutex::new(Instant::now()) } };
        };
        let bar = ProgressBar::new(STEPS as u64)
            // The message is cut where the line ends.
            .with_style(style("{spinner} {bar:20} {prefix:11} {wide_msg}"))
            .with_prefix("waiting")
            .with_message(label);
        let bar = match &self.overall {
            Some(overall) => bars.insert_before(overall, bar),
            None => bars.add(bar),
        };
        bar.enable_steady_tick(Duration::from_millis(120));
        Bar { kind: Kind::Drawn(bar) }
    }

    /// One more conversion is over.
    pub fn advance(&self) {
        if let Some(overall) = &self.overall {
            overall.inc(1);
        }
    }

    /// Prints something with the bars out of the way.
    ///
    /// # Errors
    /// As `print`.
    pub fn print(&self, print: impl FnOnce() -> Result<(), Failure>) -> Result<(), Failure> {
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }

    /// Takes all bars away; none is drawn from then on.
    pub fn end(&self) {
        if let Some(bars) = &self.bars {
            // The terminal may be gone; then there is nothing to take away.
            let _ = bars.clear();
            bars.set_draw_target(ProgressDrawTarget::hidden());
        }
    }

    /// Leaves the bars as they are: the terminal has written `^C` among them, and whoever clears lines now clears
    /// the wrong ones.
    pub fn freeze(&self) {
        if let Some(bars) = &self.bars {
            bars.set_draw_target(ProgressDrawTarget::hidden());
            let _ = writeln!(std::io::stderr());
        }
    }
}

impl Bar {
    /// The conversion is at `stage`, and that far in it where that is known.
    pub fn stage(&self, stage: Stage, fraction: Option<f64>) {
        match &self.kind {
            Kind::Drawn(bar) => {
                bar.set_prefix(word(stage));
                bar.set_position((overall(stage, fraction) * STEPS) as u64);
            }
            Kind::Plain { label, last } => {
                let mut last = last.lock().unwrap_or_else(PoisonError::into_inner);
                if last.elapsed() >= PLAIN_EVERY {
                    *last = Instant::now();
                    let _ = writeln!(std::io::stderr(), "{label}: {}", word(stage));
                }
            }
        }
    }
}

impl Drop for Bar {
    fn drop(&mut self) {
        if let Kind::Drawn(bar) = &self.kind {
            bar.finish_and_clear();
        }
    }
}

fn word(stage: Stage) -> &'static str {
    match stage {
        Stage::Importing => "importing",
        Stage::Processing => "processing",
        Stage::Exporting => "exporting",
        Stage::Packing => "packing",
    }
}

/// How much of a usual conversion is over, from 0 to 1.
fn overall(stage: Stage, fraction: Option<f64>) -> f64 {
    let (start, share) = match stage {
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
    fn the_bar_only_grows() {
        let mut last = -1.0;
        for stage in [Stage::Importing, Stage::Processing, Stage::Exporting, Stage::Packing] {
            for fraction in [None, Some(0.5), Some(1.0)] {
                let now = overall(stage, fraction);
                assert!(now >= last && (0.0..=1.0).contains(&now), "{stage:?} {fraction:?}");
                last = now;
            }
        }
        assert!((overall(Stage::Importing, Some(f64::INFINITY)) - 0.4).abs() < 1e-9);
    }
}
