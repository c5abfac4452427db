//! JetStream streams as next hops (`to = ["nats://HOST:PORT/STREAM"]`): each has a thread with a runtime of
//! its own, and a message is there when a quorum has acknowledged it.

use std::cell::{Cell, RefCell};
use std::io;
use std::os::fd::AsFd;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use tokio::io::unix::AsyncFd;
use tokio::sync::{Notify, Semaphore};
use tokio::task::LocalSet;

use crate::handoff::channel::{Consumer, Receiver, Sender, Waiting};
use crate::handoff::message::{Message, Receipt};
use crate::mail::outcome::{Outcome, Refused, TryAgain};
use crate::nats::{Answer, LookError, Mail, Octets, Plan, Publisher};
use crate::sink::worker::AbortOnPanic;
use crate::sink::{Report, Site};

/// A message is waited for so long. After that its stream is as a next hop that is down.
const PATIENCE: Duration = Duration::from_secs(20);

/// All of a message, also of a large one that goes on well.
const VISIT_WAIT_MAX: Duration = Duration::from_mins(4);

/// While a stream is not there it is looked for so often.
const LOOK_FOR_EVERY: Duration = Duration::from_secs(1);

/// While it is there it is looked so often whether it is still as it has to be.
const LOOK_AT_EVERY: Duration = Duration::from_secs(30);

/// Octets of a portion of a message.
const PORTION_BYTES: usize = 64 * 1024;

/// What was tried, for the log.
const WHAT: &str = "have mail acknowledged by the stream";

/// A message for a stream.
#[derive(Debug)]
pub(super) struct Outgoing {
    /// Its octets are all in front of its mail data.
    pub(super) message: Box<Message>,
    /// Its envelope, for those who are meant, as one line of JSON.
    pub(super) envelope: String,
}

/// What the engine knows of a stream's thread.
#[derive(Debug, Default)]
pub(super) struct Standing {
    /// Nothing begins any more.
    pub(super) is_over: AtomicBool,
    is_there: AtomicBool,
}

impl Standing {
    /// Whether messages may be given to it.
    pub(super) fn is_there(&self) -> bool {
        self.is_there.load(Ordering::Relaxed)
    }
}

/// A thread's stream.
pub(super) struct Stream {
    /// What it is called.
    pub(super) hop: String,
    pub(super) plan: Plan,
    pub(super) standing: Arc<Standing>,
    pub(super) report: Arc<dyn Report>,
}

impl Stream {
    /// Runs until the engine has ended. What is under way then has no answer.
    pub(super) fn run(self, consumer: &Consumer, messages: &Receiver<Outgoing>, engine: Sender<Receipt>) {
        let report = Arc::clone(&self.report);
        let hop = self.hop.clone();
        let ended = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .and_then(|runtime| LocalSet::new().block_on(&runtime, self.serve(consumer, messages, engine)));
        if let Err(error) = ended {
            report.machine_error("go on with the stream", Site::Named(&hop), &error);
        }
    }

    #[allow(unsafe_code)]
    async fn serve(
        self,
        consumer: &Consumer,
        messages: &Receiver<Outgoing>,
        engine: Sender<Receipt>,
    ) -> io::Result<()> {
        // SAFETY: the bell's descriptor is open as long as `consumer`, which outlives this function.
        let bell = unsafe { AsyncFd::register(consumer.bell().as_fd())? };
        let (report, name) = (Arc::clone(&self.report), self.hop.clone());
        let tell = move |why: String| report.machine_error(WHAT, Site::Named(&name), &io::Error::other(why));
        let publisher = Publisher::open(&self.plan, Arc::new(tell)).await.map_err(io::Error::other)?;
        let window = Arc::new(Semaphore::new(self.plan.cluster.window));
        let desk = Rc::new(Desk {
            publisher,
            engine,
            hop: self.hop,
            standing: self.standing,
            report: self.report,
            told: RefCell::default(),
            was_there: Cell::default(),
            look_now: Notify::new(),
        });
        tokio::task::spawn_local(Rc::clone(&desk).watch());
        while !desk.standing.is_over.load(Ordering::Relaxed) {
            match messages.take() {
                Waiting::Item(outgoing) => {
                    let Ok(place) = Arc::clone(&window).acquire_owned().await else { return Ok(()) };
                    let desk = Rc::clone(&desk);
                    tokio::task::spawn_local(async move {
                        // A message that nobody answers for would never be tried again.
                        let _guard = AbortOnPanic;
                        desk.publish(outgoing).await;
                        drop(place);
                    });
                }
                Waiting::Ended => return Ok(()),
                Waiting::Nothing => {
                    if consumer.park(|| messages.is_empty()) {
                        let mut rung = bell.readable().await?;
                        consumer.bell().clear();
                        rung.clear_ready();
                        consumer.unpark();
                    }
                }
            }
        }
        Ok(())
    }
}

/// What the tasks of a stream's thread share.
struct Desk {
    publisher: Publisher,
    engine: Sender<Receipt>,
    hop: String,
    standing: Arc<Standing>,
    report: Arc<dyn Report>,
    /// Why nothing was published, as it was told last.
    told: RefCell<String>,
    /// Whether it was found once.
    was_there: Cell<bool>,
    look_now: Notify,
}

impl Desk {
    async fn publish(&self, Outgoing { mut message, envelope }: Outgoing) {
        let mail = Mail::of(message.id, &message.envelope, envelope);
        let octets = || InFront { octets: &message.received, read: 0 };
        let stored = self.publisher.store(&mail, octets, Instant::now() + PATIENCE);
        let answer = match tokio::time::timeout(VISIT_WAIT_MAX, stored).await {
            Ok(answer) => answer,
            Err(_) => Ok(Answer::Unknown("it takes too long".to_owned())),
        };
        let outcome = match answer {
            // Others are no worse for it.
            Err(why) => {
                self.tell(&why);
                Outcome::TryAgain(TryAgain::Overload)
            }
            Ok(Answer::Stored(sequence)) => {
                message.place = format!("{} {sequence}", self.hop);
                Outcome::Stored
            }
            Ok(Answer::TooLarge(why)) => {
                self.tell(&why);
                Outcome::Refused(Refused::TooLarge)
            }
            Ok(Answer::Full(why)) => {
                self.tell(&why);
                Outcome::TryAgain(TryAgain::NoSpace)
            }
            Ok(Answer::Unfit(why) | Answer::Unknown(why)) => {
                self.note_away(&why);
                Outcome::TryAgain(TryAgain::Local)
            }
        };
        self.engine.answer(Receipt { message, outcome });
        self.engine.ring_if_parked();
    }

    fn tell(&self, why: &str) {
        let error = io::Error::other(why.to_owned());
        self.report.machine_error(WHAT, Site::Named(&self.hop), &error);
    }

    /// It is not there until it is found again.
    fn note_away(&self, why: &str) {
        if self.standing.is_there.swap(false, Ordering::Relaxed) {
            why.clone_into(&mut self.told.borrow_mut());
            self.tell(why);
            self.look_now.notify_one();
        }
    }

    /// Looks whether it is there.
    async fn watch(self: Rc<Self>) {
        loop {
            let rest = match self.publisher.look().await {
                Ok(()) => {
                    self.told.borrow_mut().clear();
                    if !self.standing.is_there.swap(true, Ordering::Relaxed) && self.was_there.replace(true) {
                        self.report.note(&format!("{} takes mail again", self.hop));
                    }
                    LOOK_AT_EVERY
                }
                Err(LookError::Unfit(why) | LookError::Away(why)) => {
                    self.standing.is_there.store(false, Ordering::Relaxed);
                    if self.told.replace(why.clone()) != why {
                        self.tell(&why);
                    }
                    LOOK_FOR_EVERY
                }
            };
            // Asked for or not, the time is over then.
            let _ = tokio::time::timeout(rest, self.look_now.notified()).await;
        }
    }
}

/// The octets of a message that are all in front of its mail data.
struct InFront<'a> {
    octets: &'a [u8],
    read: usize,
}

impl Octets for InFront<'_> {
    fn bytes(&self) -> u64 {
        self.octets.len() as u64
    }

    fn read(&mut self, into: &mut Vec<u8>) -> io::Result<bool> {
        let left = self.octets.get(self.read..).unwrap_or_default();
        let portion = left.get(..PORTION_BYTES).unwrap_or(left);
        into.extend_from_slice(portion);
        self.read += portion.len();
        Ok(!portion.is_empty())
    }
}
