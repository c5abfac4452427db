//! Whether there is anybody who answers questions to the DNS.
//!
//! A zone whose servers are dead is none of a resolver's fault, and many such zones may be asked about in a
//! row. So silence only raises a doubt, and then something is asked that every resolver answers from its own
//! knowledge: a name below that of the loopback address (RFC 6303), each time another one, so that no table
//! answers it. While that has no answer nothing else is asked, and nobody waits.

use std::net::{IpAddr, Ipv4Addr};
use std::time::{Duration, Instant};

use crate::dns::{Kind, Name, Question};

/// So many questions in a row without an answer raise a doubt.
const SILENT_MAX: u32 = 16;

/// Whether somebody answers again is asked after this.
const PROBE_EVERY: Duration = Duration::from_secs(1);

/// What is known of it.
#[derive(Debug, Default)]
pub(super) struct Liveness {
    /// Questions in a row that had no answer in time.
    silent: u32,
    /// The probe that was sent last, and when.
    probe: Option<(Question, Instant)>,
    probes: u32,
    is_dead: bool,
}

impl Liveness {
    /// Whether nothing is to be asked.
    pub(super) fn is_dead(&self) -> bool {
        self.is_dead
    }

    /// A probe to be sent now, if one is due.
    pub(super) fn probe(&mut self, now: Instant) -> Option<Question> {
        let is_in_doubt = self.is_dead || self.silent >= SILENT_MAX;
        let was_sent = |(_, sent): &(Question, Instant)| now.saturating_duration_since(*sent) < PROBE_EVERY;
        if !is_in_doubt || self.probe.as_ref().is_some_and(was_sent) {
            return None;
        }
        self.probes = self.probes.wrapping_add(1);
        let loopback = Name::reverse(IpAddr::V4(Ipv4Addr::LOCALHOST));
        let name = Name::new(format!("ringmx-{}.{loopback}", self.probes).as_bytes())?;
        let question = Question::new(Kind::Ptr, name);
        self.probe = Some((question.clone(), now));
        Some(question)
    }

    /// An answer came, or word that there is none. `is_out`: nobody noted its silence before. True when it is
    /// that of a probe, which nobody else waits for.
    pub(super) fn take_answer(
        &mut self,
        question: &Question,
        is_silence: bool,
        is_out: bool,
        now: Instant,
    ) -> bool {
        let is_probe = self.probe.as_ref().is_some_and(|(probe, _)| probe == question);
        match (is_silence, is_probe) {
            (false, _) => (self.silent, self.is_dead) = (0, false),
            (true, true) => self.is_dead = true,
            (true, false) if is_out => self.note_silence(now),
            (true, false) => {}
        }
        is_probe
    }

    /// A question had no answer in time.
    pub(super) fn note_silence(&mut self, now: Instant) {
        self.silent = self.silent.saturating_add(1);
        // A probe that the lookup thread says nothing about, because it is gone or has no room, is lost.
        let is_lost =
            |(_, sent): &(Question, Instant)| now.saturating_duration_since(*sent) > 4 * PROBE_EVERY;
        if self.silent > SILENT_MAX && self.probe.as_ref().is_some_and(is_lost) {
            self.is_dead = true;
        }
    }
}
