//! The status on a terminal, live: drawn anew each second, on a screen of its own, until `q` or Ctrl-C.
//!
//! A frame is one write over the frame before it, so nothing flickers. The terminal is put back as it was
//! however this ends, but for SIGKILL.

use std::io::{self, IsTerminal, Write, stdin, stdout};
use std::time::Duration;

use rustix::termios::{self, LocalModes, OptionalActions, SpecialCodeIndex, Termios};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep_until};

use super::lines::{Line, Tone, clock, events, fit};
use super::place::{Place, Told};
use super::said::Said;

/// How often the server is asked.
const ASK_EVERY: Duration = Duration::from_secs(1);

/// The heading of the events, and the newest of them.
const EVENTS_MIN: usize = 4;

/// What a terminal has that does not say it.
const SIZE: (usize, usize) = (80, 24);

/// Shows it until it is to end.
pub(super) fn run(place: Place, first: Said) -> io::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(live(place, first));
    // An answer that does not come is not waited for.
    runtime.shutdown_background();
    result
}

async fn live(place: Place, first: Said) -> io::Result<()> {
    let mut ends = [SignalKind::interrupt(), SignalKind::terminate(), SignalKind::hangup()]
        .into_iter()
        .map(signal)
        .collect::<io::Result<Vec<_>>>()?;
    let mut resized = signal(SignalKind::window_change())?;
    let terminal = Terminal::enter()?;
    let mut keys = terminal.keys();
    let mut shown = Shown { said: first, stale: None };
    let mut answer: Option<JoinHandle<Result<Told, String>>> = None;
    let mut next = Instant::now() + ASK_EVERY;
    loop {
        draw(&shown)?;
        tokio::select! {
            key = keys.next() => {
                if matches!(key, b'q' | b'Q' | 0x03 | 0x04) {
                    return Ok(());
                }
            }
            () = any(&mut ends) => return Ok(()),
            _ = resized.recv() => {}
            () = sleep_until(next), if answer.is_none() => {
                let place = place.clone();
                answer = Some(tokio::task::spawn_blocking(move || place.ask()));
                next = Instant::now() + ASK_EVERY;
            }
            told = came(&mut answer) => {
                answer = None;
                shown.take(told);
            }
        }
    }
}

/// What is on the screen.
struct Shown {
    said: Said,
    /// Why it is no longer brought up to date.
    stale: Option<String>,
}

impl Shown {
    fn take(&mut self, told: Result<Told, String>) {
        match told {
            Ok(told) => *self = Self { said: told.said, stale: None },
            Err(why) => self.stale = Some(why),
        }
    }
}

/// The answer, once there is one that is waited for.
async fn came(answer: &mut Option<JoinHandle<Result<Told, String>>>) -> Result<Told, String> {
    match answer {
        Some(answer) => answer.await.unwrap_or_else(|_| Err("this is a bug of ringmx".to_owned())),
        None => std::future::pending().await,
    }
}

async fn any(signals: &mut [Signal]) {
    let mut waits: Vec<_> = signals.iter_mut().map(|signal| Box::pin(signal.recv())).collect();
    std::future::poll_fn(|cx| {
        let has_come = waits.iter_mut().any(|wait| wait.as_mut().poll(cx).is_ready());
        if has_come { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

fn draw(shown: &Shown) -> io::Result<()> {
    let (columns, rows) = size();
    let has_colour = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
    let mut frame = String::from("\x1b[?2026h\x1b[H");
    let all = screen(shown, columns, rows);
    for (row, line) in all.iter().enumerate() {
        if row > 0 {
            frame.push_str("\r\n");
        }
        line.write(has_colour, &mut frame);
        frame.push_str("\x1b[K");
    }
    frame.push_str("\x1b[J\x1b[?2026l");
    let mut out = stdout().lock();
    out.write_all(frame.as_bytes())?;
    out.flush()
}

/// The lines of a screen of this size: those that fit, and how it is left.
fn screen(shown: &Shown, columns: usize, rows: usize) -> Vec<Line> {
    let mut all = Vec::new();
    if let Some(why) = &shown.stale {
        let why = why.lines().next().unwrap_or_default();
        let since = clock(shown.said.at_unix_ms());
        all.push(Line::new(Tone::Bad, fit(&format!("STALE since {since}: no answer: {why}"), columns)));
    }
    all.extend(shown.said.figures(columns));
    let mut news = events(shown.said.events(), columns);
    let room = rows.saturating_sub(1);
    let is_cut = all.len() + news.len() > room;
    if is_cut {
        // The newest events are always seen, but for a terminal of a few lines.
        let kept = news.len().min(EVENTS_MIN).min(room / 3);
        all.truncate(room - kept);
        news.truncate(room - all.len());
    }
    all.extend(news);
    let hint = if is_cut { "q quits; a taller terminal shows more" } else { "q quits" };
    all.push(Line::new(Tone::Soft, fit(hint, columns)));
    all.truncate(rows);
    all
}

/// Columns and rows.
fn size() -> (usize, usize) {
    match termios::tcgetwinsize(stdout()) {
        Ok(size) if size.ws_col > 0 && size.ws_row > 0 => (size.ws_col.into(), size.ws_row.into()),
        Ok(_) | Err(_) => SIZE,
    }
}

/// A terminal that is ours; put back by drop.
struct Terminal {
    /// How standard input was, where it is a terminal.
    was: Option<Termios>,
}

impl Terminal {
    fn enter() -> io::Result<Self> {
        let was = if stdin().is_terminal() { Some(termios::tcgetattr(stdin())?) } else { None };
        let terminal = Self { was };
        if let Some(was) = &terminal.was {
            let mut raw = was.clone();
            // Keys come one by one, unseen, and Ctrl-C and Ctrl-Z are keys.
            raw.local_modes &=
                !(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG | LocalModes::IEXTEN);
            raw.special_codes[SpecialCodeIndex::VMIN] = 1;
            raw.special_codes[SpecialCodeIndex::VTIME] = 0;
            termios::tcsetattr(stdin(), OptionalActions::Flush, &raw)?;
        }
        // Another screen, no cursor.
        stdout().write_all(b"\x1b[?1049h\x1b[?25l")?;
        Ok(terminal)
    }

    /// The keys, if there is a keyboard.
    fn keys(&self) -> Keys {
        if self.was.is_some() { Keys::read() } else { Keys(None) }
    }
}

impl Drop for Terminal {
    fn drop(&mut self) {
        // Nobody is left to tell that the terminal has gone.
        let _ = stdout().write_all(b"\x1b[?25h\x1b[?1049l").and_then(|()| stdout().flush());
        if let Some(was) = &self.was {
            let _ = termios::tcsetattr(stdin(), OptionalActions::Flush, was);
        }
    }
}

/// The keys of a keyboard.
struct Keys(Option<mpsc::Receiver<u8>>);

impl Keys {
    /// Read by a thread of its own, which ends with the process: a read of a terminal cannot be given up.
    fn read() -> Self {
        let (tell, keys) = mpsc::channel(16);
        std::thread::spawn(move || {
            let mut octet = [0];
            // The end of the input is as good as `q`.
            while let Ok(1) = rustix::io::read(stdin(), &mut octet) {
                let [key] = octet;
                if tell.blocking_send(key).is_err() {
                    break;
                }
            }
        });
        Self(Some(keys))
    }

    /// The next one; `q` once there are no more.
    async fn next(&mut self) -> u8 {
        match &mut self.0 {
            Some(keys) => keys.recv().await.unwrap_or(b'q'),
            None => std::future::pending().await,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::admin::status::sample::full;
    use crate::admin::status::{Latency, Shard, Status};

    #[test]
    fn a_screen_has_at_most_its_rows_and_says_how_it_is_left() {
        for stale in [None, Some("gone\nfor ever".to_owned())] {
            let shown = Shown { said: Said::Receiver(Box::default()), stale };
            for (columns, rows) in [(80, 24), (40, 10), (200, 60), (1, 1), (20, 2)] {
                let screen = screen(&shown, columns, rows);
                assert!(screen.len() <= rows, "{columns} x {rows}");
                let last = screen.last().expect("a line");
                assert!(columns < 40 || last.plain().starts_with("q quits"), "{columns} x {rows}");
                assert_eq!(
                    shown.stale.is_some() && rows > 2,
                    screen.first().is_some_and(|line| line.plain().starts_with("STALE")) && rows > 2
                );
            }
        }
    }

    #[test]
    fn a_terminal_of_80_by_24_shows_the_state_each_shard_and_the_newest_events() {
        // A stream besides a filter needs a taller one.
        let mut status = Status { cluster: None, ..full() };
        let shard = |shard| Shard { shard, ..Shard::default() };
        status.shards = vec![shard(0), shard(1)];
        status.latency = vec![Latency { phase: "store".to_owned(), ..Latency::default() }; 8];
        let all = screen(&Shown { said: Said::Receiver(Box::new(status)), stale: None }, 80, 24);
        let text: String = all.iter().map(Line::plain).collect();
        for word in ["Receiving: 1 problem", "something slow", "Latency", "Shard", "store_full"] {
            assert!(text.contains(word), "{word:?}:\n{text}");
        }
        assert_eq!(all.len(), 24);
    }
}
