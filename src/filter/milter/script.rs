//! What a milter is told of a message before its body: packets, written down when the message begins, and
//! said run by run, up to the next one that has a reply.

use std::net::IpAddr;

use super::agreement::Agreement;
use super::code::command;
use super::{fields, macros, packet};
use crate::filter::Subject;
use crate::mail::envelope::{BodyType, Ret};

/// Memory that is kept for the next message.
const KEPT_BYTES: usize = 16 * 1024;

/// The packets of one message. Memory is used again by the next one.
#[derive(Debug, Default)]
pub(super) struct Script {
    packets: Vec<u8>,
    /// Octets of `packets` that are said.
    said: usize,
    /// What the header section had after its fields; the octets of it that are said.
    body: Vec<u8>,
    body_said: usize,
    /// The end of the message.
    end: Vec<u8>,
    /// Recipients that are told and answered.
    recipients: usize,
    /// The command of which the milter wants no more.
    skipped: Option<u8>,
}

impl Script {
    /// Writes down what is to be said, after [`Self::forget`].
    pub(super) fn write(&mut self, subject: &Subject<'_>, header: &[u8], agreement: &Agreement) {
        self.write_client(subject, agreement);
        self.write_envelope(subject, agreement);
        let output = &mut self.packets;
        macros::push(command::DATA, subject, None, agreement, output);
        if agreement.wants(command::DATA) {
            packet::push(output, command::DATA, |_| {});
        }
        let fields = agreement.wants(command::FIELD).then_some(&mut *output);
        let rest = fields::push_fields(header, agreement.keeps_leading_space(), fields);
        self.body.extend_from_slice(rest);
        macros::push(command::END_OF_HEADER, subject, None, agreement, output);
        if agreement.wants(command::END_OF_HEADER) {
            packet::push(output, command::END_OF_HEADER, |_| {});
        }
        macros::push(command::END, subject, None, agreement, &mut self.end);
        packet::push(&mut self.end, command::END, |_| {});
    }

    fn write_client(&mut self, subject: &Subject<'_>, agreement: &Agreement) {
        let output = &mut self.packets;
        let client = subject.client;
        macros::push(command::CONNECT, subject, None, agreement, output);
        if agreement.wants(command::CONNECT) {
            let address = client.address.ip().to_canonical();
            packet::push(output, command::CONNECT, |data| {
                packet::push_text(data, &macros::client_name(subject));
                data.push(if matches!(address, IpAddr::V4(_)) { b'4' } else { b'6' });
                data.extend_from_slice(&client.address.port().to_be_bytes());
                packet::push_text(data, address.to_string().as_bytes());
            });
        }
        macros::push(command::HELO, subject, None, agreement, output);
        if agreement.wants(command::HELO) && !client.ehlo.is_empty() {
            packet::push(output, command::HELO, |data| packet::push_text(data, &client.ehlo));
        }
    }

    /// MAIL and RCPT with the parameters that they had, as far as those are known.
    fn write_envelope(&mut self, subject: &Subject<'_>, agreement: &Agreement) {
        let (output, envelope) = (&mut self.packets, subject.envelope);
        macros::push(command::MAIL, subject, None, agreement, output);
        if agreement.wants(command::MAIL) {
            packet::push(output, command::MAIL, |data| {
                packet::push_text(data, &[b"<", envelope.reverse_path(), b">"].concat());
                if let Some(size) = envelope.size_declared {
                    packet::push_text(data, format!("SIZE={size}").as_bytes());
                }
                match envelope.body {
                    BodyType::SevenBit => {}
                    BodyType::EightBitMime => packet::push_text(data, b"BODY=8BITMIME"),
                    BodyType::BinaryMime => packet::push_text(data, b"BODY=BINARYMIME"),
                }
                if envelope.smtputf8 {
                    packet::push_text(data, b"SMTPUTF8");
                }
                if envelope.requiretls {
                    packet::push_text(data, b"REQUIRETLS");
                }
                match envelope.ret {
                    None => {}
                    Some(Ret::Full) => packet::push_text(data, b"RET=FULL"),
                    Some(Ret::Headers) => packet::push_text(data, b"RET=HDRS"),
                }
                if !envelope.envid().is_empty() {
                    packet::push_text(data, &[b"ENVID=", envelope.envid()].concat());
                }
            });
        }
        if !agreement.wants(command::RECIPIENT) {
            return;
        }
        for (mailbox, parameters) in envelope.recipients_with_parameters() {
            macros::push(command::RECIPIENT, subject, Some(mailbox), agreement, output);
            packet::push(output, command::RECIPIENT, |data| {
                packet::push_text(data, &[b"<", mailbox.whole, b">"].concat());
                if let Some(notify) = parameters.notify {
                    packet::push_text(data, format!("NOTIFY={notify}").as_bytes());
                }
                if !parameters.orcpt.is_empty() {
                    packet::push_text(data, &[b"ORCPT=", parameters.orcpt].concat());
                }
            });
        }
        if agreement.answers(command::RECIPIENT) {
            self.recipients = envelope.recipients().len();
        }
    }

    /// Appends packets up to the next one that has a reply, whose command it gives; none when all is said.
    pub(super) fn say(&mut self, agreement: &Agreement, output: &mut Vec<u8>) -> Option<u8> {
        while let Some(packet) = packet::first(self.packets.get(self.said..)?) {
            self.said += packet.whole.len();
            // The macros of a command that is not said are of no use either.
            let is_macros = packet.code == command::MACROS;
            let of = if is_macros { packet.data.first().copied() } else { Some(packet.code) };
            if of.is_some() && of == self.skipped {
                continue;
            }
            output.extend_from_slice(packet.whole);
            if !is_macros && agreement.answers(packet.code) {
                return Some(packet.code);
            }
        }
        None
    }

    /// The milter wants no more of this command.
    pub(super) fn skip(&mut self, code: u8) {
        self.skipped = Some(code);
    }

    /// Whether it wants no more of this command.
    pub(super) fn skips(&self, code: u8) -> bool {
        self.skipped == Some(code)
    }

    /// Octets of the body that came with the header section, at most so many; none when all are taken.
    pub(super) fn take_body(&mut self, most: usize) -> Vec<u8> {
        let rest = self.body.get(self.body_said..).unwrap_or_default();
        let taken = rest.get(..most).unwrap_or(rest).to_vec();
        self.body_said += taken.len();
        taken
    }

    /// Appends the end of the message.
    pub(super) fn push_end(&self, output: &mut Vec<u8>) {
        output.extend_from_slice(&self.end);
    }

    /// Gives up what was written, with most of its memory: a connection may rest for long.
    pub(super) fn forget(&mut self) {
        let Self { packets, body, end, .. } = std::mem::take(self);
        let [packets, body, end] = [packets, body, end].map(|mut memory| {
            memory.clear();
            memory.shrink_to(KEPT_BYTES);
            memory
        });
        *self = Self { packets, body, end, ..Self::default() };
    }

    /// Memory that it holds, in octets.
    #[cfg(test)]
    pub(super) fn memory_bytes(&self) -> usize {
        self.packets.capacity() + self.body.capacity() + self.end.capacity()
    }

    /// Recipients that are told and answered.
    pub(super) fn recipients(&self) -> usize {
        self.recipients
    }
}
