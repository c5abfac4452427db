//! The progress of a run, as a terminal shows it.

use std::collections::VecDeque;
use std::io::IsTerminal;
use std::time::Duration;

use crate::load_thread::counters::{Counters, Sample};
use crate::output::{complain, show};
use crate::paragraph::COLUMNS;
use crate::plan::Plan;
use crate::units::{counted, time};

/// A line on the terminal. Nothing is drawn when standard error is something else, or a terminal without a
/// cursor.
#[derive(Debug)]
pub struct Progress {
    shows: bool,
    messages: Option<u64>,
    duration: Duration,
    told_pipelining: bool,
    /// Of the last second, the oldest first. What is shown is the mean of that time.
    /// `recent.len() <= RECENT_MAX`
    recent: VecDeque<Sample>,
}

/// Samples of a second.
const RECENT_MAX: usize = 11;

/// Sets the cursor to the start of its line and removes what is there.
const CLEAR: &str = "\r\x1b[K";

impl Progress {
    /// How often it is drawn.
    pub const PERIOD: Duration = Duration::from_millis(100);

    /// For a run of this plan.
    pub fn new(plan: &Plan) -> Self {
        let dumb = std::env::var_os("TERM").is_none_or(|term| term.is_empty() || term == "dumb");
        Self {
            shows: std::io::stderr().is_terminal() && !dumb,
            messages: plan.messages,
            duration: plan.duration,
            told_pipelining: false,
            recent: VecDeque::from([Sample::default()]),
        }
    }

    /// Shows where the threads are.
    pub fn draw(&mut self, threads: &[Counters], sample: Sample) {
        let missing = threads.iter().any(Counters::lacks_pipelining);
        if missing && !self.told_pipelining {
            self.told_pipelining = true;
            self.clear();
            complain("the server does not offer PIPELINING: going on without");
        }
        self.recent.push_back(sample);
        if self.recent.len() > RECENT_MAX {
            self.recent.pop_front();
        }
        if let (true, Some(first)) = (self.shows, self.recent.front()) {
            let done = self.share_done(&sample);
            let longest = self.recent.iter().skip(1).map(|sample| sample.latency_max).max().unwrap_or(0);
            let now = Sample { latency_max: longest, ..sample };
            show(&format!("{CLEAR}{}", line(columns(), done, first, &now)));
        }
    }

    /// Removes the line.
    pub fn clear(&self) {
        if self.shows {
            show(CLEAR);
        }
    }

    /// Of the messages or of the time, whichever is further: that one ends the run. From 0 to 1.
    fn share_done(&self, sample: &Sample) -> f64 {
        let time = sample.at.as_secs_f64() / self.duration.as_secs_f64();
        let messages = self.messages.map_or(0.0, |messages| sample.done as f64 / messages as f64);
        time.max(messages).min(1.0)
    }
}

/// Columns of the terminal; where it does not say, those that every terminal has.
fn columns() -> usize {
    let size = rustix::termios::tcgetwinsize(std::io::stderr());
    size.ok().map(|size| usize::from(size.ws_col)).filter(|columns| *columns > 0).unwrap_or(COLUMNS)
}

/// The line, short enough for a terminal of so many columns: what says least is left out first.
fn line(columns: usize, done: f64, before: &Sample, now: &Sample) -> String {
    const BAR_MIN: usize = 8;
    const BAR_MAX: usize = 24;
    // In the last column a terminal may begin a new line.
    let room = columns.saturating_sub(1);
    let since = now.at.saturating_sub(before.at).as_secs_f64();
    let accepted = now.accepted.saturating_sub(before.accepted);
    // Those that are to be refused count, too, and sessions of bots.
    let rate = now.done.saturating_sub(before.done) as f64 / since.max(f64::EPSILON);
    let mean = now.latency_sum.saturating_sub(before.latency_sum) as f64 / accepted.max(1) as f64;
    let [mean, longest] = [mean, now.latency_max as f64].map(|latency| {
        // Without a message there is no latency.
        let told = if accepted > 0 { time(latency) } else { "-".to_owned() };
        format!("{told:>7}")
    });
    // In the order in which they stand, with the order in which they are wanted. Padded, so that the bar does
    // not jump.
    let mut parts = vec![
        (0, format!("{:>3.0} %", (done * 100.0).floor())),
        (1, format!("{:>8}", format!("{rate:.0}/s"))),
        (2, counted(now.failures, "error")),
        (3, format!("mean {mean}, max {longest}")),
        (4, format!("{:>4} in flight", now.in_flight)),
    ];
    let width = |parts: &[(u8, String)]| -> usize {
        parts.iter().map(|(_, part)| part.chars().count() + 2).sum::<usize>().saturating_sub(2)
    };
    while parts.len() > 1 && width(&parts) + BAR_MIN + 1 > room {
        let latency = format!("max {longest}");
        match parts.iter_mut().max_by_key(|(wanted, _)| *wanted) {
            Some((3, part)) if *part != latency => *part = latency,
            last => {
                let least = last.map_or(0, |(wanted, _)| *wanted);
                parts.retain(|(wanted, _)| *wanted != least);
            }
        }
    }
    let bar = room.saturating_sub(width(&parts) + 1).min(BAR_MAX);
    let filled = (done * bar as f64).round();
    let bar: String = (0..bar).map(|at| if (at as f64) < filled { '█' } else { '░' }).collect();
    let parts: Vec<String> = parts.into_iter().map(|(_, part)| part).collect();
    format!("{bar} {}", parts.join("  ")).chars().take(room).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample(at: u64, big: u64) -> Sample {
        Sample {
            at: Duration::from_millis(at),
            accepted: big,
            done: big,
            in_flight: big,
            failures: big,
            latency_sum: big,
            latency_max: big * 400,
        }
    }

    #[test]
    fn the_line_is_never_wider_than_the_terminal() {
        for columns in 0..200 {
            for big in [0, 1, 50, 20_000, 9_999_999, 10_000_000_000] {
                for done in [0.0, 0.005, 0.5, 1.0] {
                    let line = line(columns, done, &sample(900, 0), &sample(1_000, big));
                    assert!(line.chars().count() < columns.max(1), "{columns}: {line}");
                }
            }
        }
    }

    #[test]
    fn a_narrow_terminal_loses_what_says_least() {
        let now = Sample { failures: 0, ..sample(1_000, 2_000) };
        let line = |columns| line(columns, 0.5, &sample(900, 0), &now);
        assert_eq!(
            line(80),
            "█████░░░░░  50 %   20000/s  0 errors  mean    1 µs, max  800 ms  2000 in flight"
        );
        assert_eq!(line(60), "██████████░░░░░░░░░░  50 %   20000/s  0 errors  max  800 ms");
        assert!(line(40).contains("20000/s") && line(40).contains("0 errors"), "{}", line(40));
        assert!(line(20).contains("50 %"), "{}", line(20));
    }

    #[test]
    fn the_bar_follows_messages_or_time_whichever_is_further() {
        let mut progress = Progress {
            shows: false,
            messages: Some(1_000),
            duration: Duration::from_secs(10),
            told_pipelining: false,
            recent: VecDeque::new(),
        };
        let share = |progress: &Progress, at, done| format!("{:.3}", progress.share_done(&sample(at, done)));
        assert_eq!(share(&progress, 1_000, 500), "0.500");
        assert_eq!(share(&progress, 9_000, 500), "0.900");
        assert_eq!(share(&progress, 60_000, 500), "1.000");
        progress.messages = None;
        assert_eq!(share(&progress, 2_500, 500), "0.250");
    }
}
