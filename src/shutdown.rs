//! The end of the process: the signals that ask for it, the order that begins it, the bounds after which it
//! comes in any case.
//!
//! ```text
//!   starting ──► listening ──► stopping ──► the end
//!       │                                     ▲
//!       └── a signal: nobody was greeted ─────┘
//! ```
//!
//! A thread of its own takes the signals, from before anything else is done until the process is gone. So it
//! also ends a start or a stop that stands still somewhere, on a disk or on standard error. Ending a process
//! at any moment costs no mail that was answered 250: that is what the sinks are built for.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use crossbeam_channel::{Receiver, Sender, unbounded};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

use crate::config::LogFormat;
use crate::handoff::channel::Sender as ToShard;
use crate::limits::{LAST_WORDS_MAX, MINDED_END_MAX, PROCESS_END_MAX, START_END_MAX};
use crate::log::{events, last_words};
use crate::shard::order::Order;
use crate::signals::{hold_back, let_in};

/// What a signal asks the control thread for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Asked {
    /// SIGTERM or SIGINT: the stop has begun already.
    Stop,
    /// SIGHUP: the configuration and all that it names are to be read again.
    Reload,
    /// SIGUSR1: the log's file is to be opened again.
    ReopenLog,
}

/// How far the process is. What was begun is never taken back.
#[derive(Debug, Default)]
struct Progress {
    listens: bool,
    stops: bool,
    /// To the shards that are to learn of the stop.
    shards: Vec<ToShard<Order>>,
}

/// Shared by every thread that begins the end or has to learn of it.
#[derive(Debug)]
pub struct Shutdown {
    progress: Mutex<Progress>,
    asked: Receiver<Asked>,
    /// Whether last words are JSON; it is known only when the configuration has been read.
    is_json: AtomicBool,
    /// Nothing is under way but deliveries: it is a forwarder, or a receiver that waits for its own one.
    forwards: AtomicBool,
    /// Standard input has ended, and that ends the process.
    input_ended: Notify,
}

impl Shutdown {
    /// From now on signals are taken. SIGPIPE is ignored by the standard library.
    pub fn on_signals() -> std::io::Result<Arc<Self>> {
        let (ask, asked) = unbounded();
        let shutdown = Arc::new(Self {
            progress: Mutex::default(),
            asked,
            is_json: AtomicBool::default(),
            forwards: AtomicBool::default(),
            input_ended: Notify::new(),
        });
        let (tell, told) = unbounded();
        let ours = Arc::clone(&shutdown);
        let run = move || {
            let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
                Ok(runtime) => runtime,
                Err(error) => return drop(tell.send(Err(error))),
            };
            runtime.block_on(async {
                match Signals::listen().and_then(|signals| let_in().map(|()| signals)) {
                    Ok(signals) => {
                        let _ = tell.send(Ok(()));
                        ours.take_signals(signals, &ask).await;
                    }
                    Err(error) => drop(tell.send(Err(error))),
                }
            });
        };
        // Every other thread holds them back for good: it may stand in a wait for a disk that nothing ends.
        hold_back()?;
        std::thread::Builder::new().name("signals".to_owned()).spawn(run)?;
        told.recv().map_err(std::io::Error::other)??;
        Ok(shutdown)
    }

    /// From now on no signal is taken that is above, also not by what this process becomes: something else
    /// ends it.
    pub fn by_no_signal() -> std::io::Result<()> {
        hold_back()
    }

    /// From now on nothing is under way but deliveries: what is when the process ends is not settled.
    pub fn only_forwards(&self) {
        self.forwards.store(true, Ordering::Relaxed);
    }

    /// The stop begins when standard input ends, too. It has a bound of its own: whoever closes that end
    /// waits, and may not for as long as it takes.
    pub fn begin_with_input_end(self: &Arc<Self>) -> std::io::Result<()> {
        let shutdown = Arc::clone(self);
        let run = move || {
            let _ = std::io::copy(&mut std::io::stdin().lock(), &mut std::io::sink());
            shutdown.input_ended.notify_one();
        };
        std::thread::Builder::new().name("input".to_owned()).spawn(run).map(drop)
    }

    /// Last words from now on have this format.
    pub fn speak(&self, format: LogFormat) {
        self.is_json.store(format == LogFormat::Json, Ordering::Relaxed);
    }

    /// What signals ask the control thread for.
    pub fn asked(&self) -> &Receiver<Asked> {
        &self.asked
    }

    /// Whether the stop has begun.
    pub fn has_begun(&self) -> bool {
        self.progress().stops
    }

    /// Asked before the first `listen`: false when there shall be none, because the stop has begun.
    pub fn may_listen(&self) -> bool {
        let mut progress = self.progress();
        progress.listens = !progress.stops;
        progress.listens
    }

    /// One more shard to be told when the stop begins. It is told now if it has.
    pub fn order_at_stop(&self, shard: ToShard<Order>) {
        let mut progress = self.progress();
        if progress.stops {
            order_stop(&shard);
        }
        progress.shards.push(shard);
    }

    /// Begins the stop: shards take no new connection and end their sessions.
    pub fn begin(&self) {
        let mut progress = self.progress();
        if !std::mem::replace(&mut progress.stops, true) {
            progress.shards.iter().for_each(order_stop);
        }
    }

    fn progress(&self) -> MutexGuard<'_, Progress> {
        self.progress.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn take_signals(&self, mut signals: Signals, ask: &Sender<Asked>) {
        let mut first: Option<Instant> = None;
        let (mut was_signalled, mut start_was_looked_at) = (false, false);
        let mut whole_bound = PROCESS_END_MAX;
        loop {
            let bound = if start_was_looked_at { whole_bound } else { START_END_MAX };
            // Before the stop nothing is waited for.
            let deadline = first.map_or_else(far_away, |first| first + bound);
            let (asked, is_signal) = tokio::select! {
                _ = signals.terminate.recv() => (Asked::Stop, true),
                _ = signals.interrupt.recv() => (Asked::Stop, true),
                _ = signals.hangup.recv() => (Asked::Reload, true),
                _ = signals.user1.recv() => (Asked::ReopenLog, true),
                () = self.input_ended.notified() => (Asked::Stop, false),
                () = sleep_until(deadline), if first.is_some() => {
                    self.give_up_waiting(start_was_looked_at);
                    start_was_looked_at = true;
                    continue;
                }
            };
            if asked != Asked::Stop {
                let _ = ask.send(asked);
                continue;
            }
            // A service manager stops all processes of a service at once, so a signal and the end of the
            // input are often of one stop.
            if is_signal && std::mem::replace(&mut was_signalled, true) {
                self.end("a second signal, so nothing was waited for");
            }
            if !is_signal {
                whole_bound = MINDED_END_MAX;
            }
            if first.is_none() {
                first = Some(Instant::now());
                self.begin();
                let _ = ask.send(Asked::Stop);
            }
        }
    }

    /// A bound has passed. The first is that of a start, which should have found by then that it is not to go
    /// on.
    fn give_up_waiting(&self, start_was_looked_at: bool) {
        if start_was_looked_at {
            self.end("the stop took too long and is not waited for");
        } else if !self.progress().listens {
            self.end("the start took too long to stop");
        }
    }

    /// Ends the process. Clients that were greeted may have been cut off, and the exit code says so.
    fn end(&self, why: &str) {
        let (code, left) = match (self.progress().listens, self.forwards.load(Ordering::Relaxed)) {
            (true, false) => (1, "messages that were not answered 250 may be stored or not"),
            (true, true) => (1, "messages that were under way are delivered again"),
            (false, false) => (0, "it did not listen yet"),
            (false, true) => (0, "nothing was delivered yet"),
        };
        let is_json = self.is_json.load(Ordering::Relaxed);
        let format = if is_json { LogFormat::Json } else { LogFormat::Text };
        last_words(format, &events::STOPPED, &format!("{why}; {left}"), LAST_WORDS_MAX);
        exit_now(code);
    }
}

/// There is always room for it, because it is sent once and [`Order::send`] leaves a place for it.
fn order_stop(shard: &ToShard<Order>) {
    // A shard that has gone has stopped.
    let _ = shard.send_and_ring(Order::Stop);
}

/// A time that does not come.
fn far_away() -> Instant {
    Instant::now() + Duration::from_hours(24)
}

/// The signals that are taken.
struct Signals {
    terminate: tokio::signal::unix::Signal,
    interrupt: tokio::signal::unix::Signal,
    hangup: tokio::signal::unix::Signal,
    user1: tokio::signal::unix::Signal,
}

impl Signals {
    fn listen() -> std::io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            hangup: signal(SignalKind::hangup())?,
            user1: signal(SignalKind::user_defined1())?,
        })
    }
}

/// Ends the process with this code and nothing else: what runs at a usual exit could wait for a thread that
/// stands still.
#[allow(unsafe_code)]
fn exit_now(code: i32) -> ! {
    // SAFETY: `_exit` takes any number, returns never and touches no memory of ours.
    unsafe { libc::_exit(code) }
}
