//! Progress: a bar on a terminal, plain lines elsewhere; always on standard error.

use indicatif::{ProgressBar, ProgressStyle};
use keener_burn::compare::{Line, Metric};
use std::io::{IsTerminal, Write};
use std::time::Instant;

/// Reports finished pieces.
#[derive(Debug)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
    quiet: bool,
    started: Instant,
}

impl Progress {
    pub(crate) fn new(quiet: bool) -> Self {
        let bar = (!quiet && std::io::stderr().is_terminal()).then(|| {
            let bar = ProgressBar::new(0);
            let style =
                ProgressStyle::with_template("{bar:30} {pos}/{len} trainings  {per_sec}  {eta} left  {wide_msg}");
            bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
            bar
        });
        Self { bar, quiet, started: Instant::now() }
    }

    pub(crate) fn finished(&self, line: &Line, done: usize, total: usize) {
        let text = match line {
            Line::Tuned(t) => {
                format!("{} {}: chose {} at {}", t.scenario, t.objective, t.chosen.spec, t.chosen.learning_rate)
            }
            Line::Unit(u) => {
                let metric = Metric::of(u.scenario)[0];
                let value = match u.measures.as_ref().and_then(|m| m.get(metric)) {
                    Some(value) => format!("{} {value:.3}", metric.title()),
                    None => format!("failed: {}", u.failed.as_deref().unwrap_or("")),
                };
                format!("{} {} repeat {}: {value}", u.scenario, u.objective, u.repeat + 1)
            }
        };
        if let Some(bar) = &self.bar {
            bar.set_length(total as u64);
            bar.set_position(done as u64);
            bar.set_message(text);
        } else if !self.quiet {
            let seconds = self.started.elapsed().as_secs_f64();
            // Nothing is to be done about a closed standard error.
            let _ = writeln!(std::io::stderr(), "[{done}/{total} {seconds:.0}s] {text}");
        }
    }

    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
