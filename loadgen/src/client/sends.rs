//! What a session sends next: commands, command groups (RFC 2920), mail data and chunks (RFC 3030). What
//! replies mean stands in `mod.rs`.

use std::time::{Duration, Instant};

use super::Client;
use super::stage::Stage;
use super::transaction::{Chunks, Open, Transaction};
use crate::corpus::HUGE;
use crate::latency::Phase;
use crate::ledger::entry::Entry;
use crate::scenario::act::Act;
use crate::scenario::commands::Commands;
use crate::tally::{LATE, Tally};
use crate::work::{Message, Work};

/// All that is sent of a message that never goes on.
const HALF_DATA: &[u8] = b"Subject: half\r\n\r\nhal";

/// Mail data of nothing but LF, and its end.
const BARE_LF: &[u8] = &{
    const END: &[u8] = b"\r\n.\r\n";
    let mut octets = [b'\n'; 1024 * 1024];
    let mut index = 0;
    while index < END.len() {
        octets[octets.len() - END.len() + index] = END[index];
        index += 1;
    }
    octets
};

/// Between two octets of a slow client.
const DRIP_PERIOD: Duration = Duration::from_secs(1);

impl Client {
    /// What to send now, if anything: octets put into `head` (empty when handed in), and after them those
    /// returned. Asked for only when the last send has ended.
    pub fn next_send(
        &mut self,
        head: &mut Vec<u8>,
        work: &mut Work,
        now: Instant,
        tally: &mut Tally,
    ) -> Option<&'static [u8]> {
        if !self.reads() {
            self.said = true;
            return Some(&self.scenario.commands.flood);
        }
        if self.chunks.is_some() && (self.pipelining || !self.said) {
            self.said = true;
            return self.next_chunk(head, now);
        }
        if self.said {
            return self.next_ahead(head, work, now, tally);
        }
        if self.stage == Stage::Ready {
            self.begin(work, now, tally);
            if self.stage == Stage::Ready {
                return None;
            }
        }
        self.said = true;
        let scenario = self.scenario;
        let commands = &scenario.commands;
        match self.stage {
            Stage::Greeting => {
                if let Some(proxy) = scenario.proxy.filter(|_| !self.secured) {
                    proxy.write_header(self.serial, head);
                }
                if scenario.row.act == Act::EarlyTalker { Some(&commands.ehlo) } else { Some(b"") }
            }
            Stage::Ehlo => Some(&commands.ehlo),
            Stage::Helo => Some(&commands.helo),
            Stage::StartTls => Some(Commands::STARTTLS),
            Stage::Mail => Some(self.say_envelope(head, now)),
            Stage::Recipient(index) => {
                self.transaction.rcpt_at = now;
                if commands.write_varied(self.transaction.number, index, head) {
                    return Some(b"");
                }
                commands.recipients.get(index).map(Vec::as_slice)
            }
            Stage::Data => Some(Commands::DATA),
            Stage::MailData => Some(self.say_mail_data(head, work, now, tally)),
            Stage::Reset => Some(Commands::RSET),
            Stage::Quit => Some(Commands::QUIT),
            Stage::Handshake | Stage::Ready | Stage::Over(_) => None,
        }
    }

    /// MAIL, or the whole group; with BDAT the group has the first chunk, too.
    fn say_envelope(&mut self, head: &mut Vec<u8>, now: Instant) -> &'static [u8] {
        let (scenario, commands) = (self.scenario, &self.scenario.commands);
        let number = self.transaction.number;
        match (self.pipelining, scenario.row.act, scenario.bdat) {
            (false, ..) => self.say_mail(number, &commands.mail, head),
            (true, Act::Refused, _) if commands.varied.is_some() => {
                let mail = self.say_mail(number, &commands.mail, head);
                head.extend_from_slice(mail);
                for index in 0..commands.recipients.len() {
                    commands.write_varied(number, index, head);
                }
                b""
            }
            (true, Act::Refused, _) => self.say_mail(number, &commands.envelope, head),
            (true, _, None) => self.say_mail(number, &commands.group, head),
            (true, _, Some(chunk)) => {
                let envelope = self.say_mail(number, &commands.envelope, head);
                head.extend_from_slice(envelope);
                self.begin_chunks(chunk, now);
                self.next_chunk(head, now).unwrap_or_default()
            }
        }
    }

    /// Commands that begin with MAIL, for a message of this number: what is appended to `head`, and what
    /// follows it.
    fn say_mail(&self, number: u64, commands: &'static [u8], head: &mut Vec<u8>) -> &'static [u8] {
        let Some(mail) = self.scenario.corpus.mail_of(number) else { return commands };
        head.extend_from_slice(mail);
        commands.get(self.scenario.commands.mail.len()..).unwrap_or_default()
    }

    fn say_mail_data(
        &mut self,
        head: &mut Vec<u8>,
        work: &mut Work,
        now: Instant,
        tally: &mut Tally,
    ) -> &'static [u8] {
        let scenario = self.scenario;
        self.transaction.mail_data_at = now;
        if scenario.row.act == Act::Slowloris {
            self.drip_at = Some(now + DRIP_PERIOD);
            return b"x";
        }
        if scenario.row.act == Act::HalfData {
            return HALF_DATA;
        }
        if scenario.row.act == Act::BareLf {
            self.transaction.open = Open::MailData;
            return BARE_LF;
        }
        if let Some(chunk) = scenario.bdat {
            self.begin_chunks(chunk, now);
            return self.next_chunk(head, now).unwrap_or_default();
        }
        if self.transaction.recipients == 0 {
            return Commands::EMPTY_MAIL_DATA;
        }
        let number = self.transaction.number;
        if scenario.row.act == Act::Abort {
            let body = scenario.corpus.write_head(number, false, head);
            return &body[..body.len() / 2];
        }
        self.transaction.open = Open::MailData;
        self.data_at = Some(now);
        let next = match scenario.pipelining {
            Some(2..) if self.pipelining => self.take_message(work, now),
            _ => None,
        };
        if let Some(next) = next {
            let next = self.begin_transaction(next, now, tally);
            self.ahead.push_back(next);
        }
        scenario.corpus.write_head(number, next.is_some(), head)
    }

    /// Another whole transaction after those that are not answered, if there may be more of them.
    fn next_ahead(
        &mut self,
        head: &mut Vec<u8>,
        work: &mut Work,
        now: Instant,
        tally: &mut Tally,
    ) -> Option<&'static [u8]> {
        let chunk = self.scenario.bdat.filter(|_| self.pipelining)?;
        let under_way = self.ahead.len() + 1;
        if self.stage.step().is_none()
            || under_way >= usize::from(self.scenario.pipelining?)
            || self.scenario.row.act != Act::Mail
        {
            return None;
        }
        let message = self.take_message(work, now)?;
        let next = self.begin_transaction(message, now, tally);
        let envelope = self.say_mail(next.number, &self.scenario.commands.envelope, head);
        head.extend_from_slice(envelope);
        self.ahead.push_back(next);
        self.begin_chunks(chunk, now);
        self.next_chunk(head, now)
    }

    /// The message said last goes in chunks from now on.
    fn begin_chunks(&mut self, chunk: usize, now: Instant) {
        let transaction = self.ahead.back_mut().unwrap_or(&mut self.transaction);
        let chunks = Chunks::new(self.scenario.corpus, transaction.number, chunk);
        transaction.chunks_left = chunks.count();
        transaction.mail_data_at = now;
        self.chunks = Some(chunks);
    }

    fn next_chunk(&mut self, head: &mut Vec<u8>, now: Instant) -> Option<&'static [u8]> {
        let mut chunks = self.chunks.take()?;
        let body = chunks.next(head);
        if chunks.is_last() {
            self.ahead.back_mut().unwrap_or(&mut self.transaction).open = Open::MailData;
            self.data_at = Some(now);
        } else {
            self.chunks = Some(chunks);
        }
        Some(body)
    }

    /// A message, if the scenario has the session send another, and one is left and due.
    fn take_message(&mut self, work: &mut Work, now: Instant) -> Option<Message> {
        if self.scenario.messages_per_session.is_some_and(|most| self.begun >= most.get()) {
            return None;
        }
        self.claimed.take().or_else(|| work.take(now))
    }

    /// A message or QUIT, or nothing yet.
    fn begin(&mut self, work: &mut Work, now: Instant, tally: &mut Tally) {
        let act = self.scenario.row.act;
        if !act.sends() {
            match (act, work.is_over()) {
                (_, true) => self.stage = Stage::Quit,
                (Act::Idle, false) => {}
                (_, false) => {
                    self.transaction = Transaction::none(now);
                    self.stage = Stage::Mail;
                }
            }
            return;
        }
        let full = self.scenario.messages_per_session.is_some_and(|most| self.begun >= most.get());
        match self.take_message(work, now) {
            Some(message) => {
                self.transaction = self.begin_transaction(message, now, tally);
                self.stage = Stage::Mail;
            }
            None if full || work.is_over() => self.stage = Stage::Quit,
            None => {}
        }
    }

    fn begin_transaction(&mut self, message: Message, now: Instant, tally: &mut Tally) -> Transaction {
        let huge = if self.scenario.row.act == Act::Huge { HUGE } else { 0 };
        let number = message.number | huge;
        tally.started += 1;
        self.begun += 1;
        tally.notes.add(Entry::Begun { number });
        if let Some(due) = message.due {
            let wait = now.saturating_duration_since(due);
            tally.latencies.record(Phase::Wait, wait);
            tally.late += u64::from(wait > LATE);
        }
        Transaction {
            number,
            open: Open::Envelope,
            due: message.due.unwrap_or(now),
            ..Transaction::none(now)
        }
    }
}
