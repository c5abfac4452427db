//! What the benches call of the private modules; nobody else does.

use super::command::{self, Verb};
use super::extension::ExtensionSet;
use super::input::Input;
use super::mail_data::{InMailData, MailData};
use super::supplies::Supplies;
use super::{chunk, parameter, path};
use crate::smtp::settings::BareLineEnd;

/// Reads a command line without its CRLF, with its path and parameters; whether all of it is good.
pub fn read_command(line: &[u8], offered: ExtensionSet) -> bool {
    let Ok(command) = command::parse(line) else { return false };
    let path = |keyword: &'static [u8]| {
        path::parse(command::after_keyword(command.argument, keyword)?, true).ok().map(|(_, rest)| rest)
    };
    if command.verb == Verb::Mail {
        return path(b"FROM:").is_some_and(|rest| parameter::parse_mail(rest, offered).is_ok());
    }
    if command.verb == Verb::Rcpt {
        return path(b"TO:").is_some_and(|rest| parameter::parse_rcpt(rest, offered, true).is_ok());
    }
    command.verb != Verb::Bdat || chunk::parse(command.argument).is_ok()
}

/// Receives mail data that comes in these pieces; gives the number of its ranges and of the octets in them,
/// at its end. After a bare CR or LF that is rejected only the end is looked for, as a session does.
pub fn receive_mail_data<'a>(
    pieces: impl Iterator<Item = &'a [u8]>,
    bare: BareLineEnd,
) -> Option<(usize, usize)> {
    let mut data = MailData::new(bare, bare);
    let (mut ranges, mut octets) = (0, 0);
    let mut supplies = Supplies::default();
    for piece in pieces {
        let mut input = Input::new(piece, &mut supplies);
        loop {
            match data.advance(&mut input) {
                InMailData::Data(range) => {
                    ranges += 1;
                    octets += range.len();
                }
                InMailData::Insert => {
                    ranges += 1;
                    octets += input.supplies.run.octets().len();
                }
                InMailData::Bare => data.refuse(),
                InMailData::End => return Some((ranges, octets)),
                InMailData::NeedInput => break,
            }
        }
    }
    None
}
