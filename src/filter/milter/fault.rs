//! What a milter does that no milter may, or that we do not do for it.

use std::fmt;

use super::code::{ACTION_NAMES, VERSION, VERSION_MIN, reply};
use super::phase::Phase;
use crate::filter::field::Unfit;

/// Why a session is over without a ruling.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fault {
    /// The connection was lost in this phase.
    Lost(Loss, Phase),
    /// It speaks another version than 2 to 6.
    Version(u32),
    /// It insists on actions (`SMFIF_`) that were not offered: these.
    Actions(u32),
    /// It insists on protocol options (`SMFIP_`) that were not offered: these.
    Protocol(u32),
    /// A packet of no octets, or of too many.
    Length(u32),
    /// The data of this reply is not what it has to be.
    Malformed(u8),
    /// A reply that does not answer what was said in this phase.
    Unexpected(u8, Phase),
    /// A reply that the protocol does not have.
    Unknown(u8),
    /// A reply that nothing asked for, or that came before what it answers was said.
    Unasked(u8),
    /// It would change the message, in a way that was not agreed upon, or before its end.
    Edit(u8, Phase),
    /// Its reply code is neither 4yz nor 5yz.
    ReplyCode,
    /// It adds a header field whose name is none.
    FieldName,
    /// It adds more header fields, or longer ones, than a message gets, or one that fits no line.
    TooMuchAdded,
    /// It said so much without an end.
    Endless(Phase),
}

/// How a connection was lost.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Loss {
    /// The milter closed it.
    Closed,
    /// It failed.
    Failed,
    /// What the phase awaits did not come in time.
    TimedOut,
}

impl From<Unfit> for Fault {
    fn from(unfit: Unfit) -> Self {
        match unfit {
            Unfit::Name => Self::FieldName,
            Unfit::Word | Unfit::TooMuch => Self::TooMuchAdded,
        }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Lost(Loss::Closed, phase @ Phase::Negotiation) => write!(
                f,
                "the milter closed the connection ({}): it may insist on more than adding header fields",
                phase.name()
            ),
            Self::Lost(loss, phase) => {
                let how = match loss {
                    Loss::Closed => "the milter closed the connection",
                    Loss::Failed => "the connection failed",
                    Loss::TimedOut => "the milter did not answer in time",
                };
                write!(f, "{how} ({})", phase.name())
            }
            Self::Version(version) => {
                write!(
                    f,
                    "the milter speaks version {version} of the protocol, not {VERSION_MIN} to {VERSION}"
                )
            }
            Self::Actions(actions) => {
                f.write_str("the milter insists on what is not offered: ")?;
                write_actions(*actions, f)?;
                f.write_str("; configure it so that it adds header fields at most")
            }
            Self::Protocol(options) => {
                write!(
                    f,
                    "the milter insists on protocol options that are not offered: {options:#x} (SMFIP_)"
                )
            }
            Self::Length(length) => write!(f, "a packet of {length} octets"),
            Self::Malformed(code) => write!(f, "the reply {} has data that does not fit", Code(*code)),
            Self::Unexpected(code, phase) => {
                write!(f, "the reply {} does not answer what was said ({})", Code(*code), phase.name())
            }
            Self::Unknown(code) => write!(f, "the reply {} is none of the protocol", Code(*code)),
            Self::Unasked(code) => write!(f, "the reply {} answers nothing", Code(*code)),
            Self::Edit(code, phase) => {
                write!(f, "the milter would {}, which it may not ({})", edit_name(*code), phase.name())
            }
            Self::ReplyCode => f.write_str("the milter refuses with a reply that is neither 4yz nor 5yz"),
            Self::FieldName => f.write_str("the milter adds a header field without a good name"),
            Self::TooMuchAdded => f.write_str("the milter adds too many header fields, or too long ones"),
            Self::Endless(phase) => write!(f, "the milter comes to no end ({})", phase.name()),
        }
    }
}

/// A reply as it is written in the protocol: a printable octet, or its number.
struct Code(u8);

impl fmt::Display for Code {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            b'!'..=b'~' => write!(f, "'{}'", char::from(self.0)),
            code => write!(f, "{code}"),
        }
    }
}

fn write_actions(actions: u32, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let mut separator = "";
    let mut rest = actions;
    for (bit, name) in ACTION_NAMES {
        if rest & bit != 0 {
            write!(f, "{separator}{name}")?;
            separator = ", ";
            rest &= !bit;
        }
    }
    if rest != 0 {
        write!(f, "{separator}actions {rest:#x}")?;
    }
    Ok(())
}

fn edit_name(code: u8) -> &'static str {
    match code {
        reply::ADD_RECIPIENT | reply::ADD_RECIPIENT_WITH_PARAMETERS => "add a recipient",
        reply::DELETE_RECIPIENT => "take a recipient away",
        reply::REPLACE_BODY => "replace the body",
        reply::CHANGE_SENDER => "change the reverse-path",
        reply::CHANGE_FIELD => "change a header field",
        reply::QUARANTINE => "put the message into quarantine",
        _ => "add a header field",
    }
}
