//! The numbers and letters of the protocol that more than one file needs.

/// The version that is offered.
pub(super) const VERSION: u32 = 6;

/// The oldest version that is spoken.
pub(super) const VERSION_MIN: u32 = 2;

/// The actions that are not offered.
pub(super) const ACTION_NAMES: [(u32, &str); 6] = [
    (1 << 1, "replacing the body (SMFIF_CHGBODY)"),
    (1 << 2, "adding recipients (SMFIF_ADDRCPT)"),
    (1 << 3, "deleting recipients (SMFIF_DELRCPT)"),
    (1 << 4, "changing header fields (SMFIF_CHGHDRS)"),
    (1 << 6, "changing the reverse-path (SMFIF_CHGFROM)"),
    (1 << 7, "adding recipients with parameters (SMFIF_ADDRCPT_PAR)"),
];

/// What a server says (`SMFIC_`).
pub(super) mod command {
    pub(in super::super) const ABORT: u8 = b'A';
    pub(in super::super) const BODY: u8 = b'B';
    pub(in super::super) const CONNECT: u8 = b'C';
    pub(in super::super) const MACROS: u8 = b'D';
    /// `SMFIC_BODYEOB`: the end of the message.
    pub(in super::super) const END: u8 = b'E';
    pub(in super::super) const HELO: u8 = b'H';
    /// `SMFIC_QUIT_NC`: this SMTP connection is over, and another one is told on the same connection.
    pub(in super::super) const QUIT_NEW_CONNECTION: u8 = b'K';
    pub(in super::super) const FIELD: u8 = b'L';
    pub(in super::super) const MAIL: u8 = b'M';
    /// `SMFIC_EOH`.
    pub(in super::super) const END_OF_HEADER: u8 = b'N';
    /// `SMFIC_OPTNEG`, which is also its reply.
    pub(in super::super) const NEGOTIATE: u8 = b'O';
    pub(in super::super) const QUIT: u8 = b'Q';
    pub(in super::super) const RECIPIENT: u8 = b'R';
    pub(in super::super) const DATA: u8 = b'T';
}

/// What a milter says (`SMFIR_`).
pub(super) mod reply {
    pub(in super::super) const ADD_RECIPIENT_WITH_PARAMETERS: u8 = b'2';
    pub(in super::super) const SHUTDOWN: u8 = b'4';
    pub(in super::super) const ADD_RECIPIENT: u8 = b'+';
    pub(in super::super) const DELETE_RECIPIENT: u8 = b'-';
    pub(in super::super) const ACCEPT: u8 = b'a';
    pub(in super::super) const REPLACE_BODY: u8 = b'b';
    pub(in super::super) const CONTINUE: u8 = b'c';
    pub(in super::super) const DISCARD: u8 = b'd';
    pub(in super::super) const CHANGE_SENDER: u8 = b'e';
    pub(in super::super) const CONNECTION_FAILURE: u8 = b'f';
    pub(in super::super) const ADD_FIELD: u8 = b'h';
    pub(in super::super) const INSERT_FIELD: u8 = b'i';
    pub(in super::super) const CHANGE_FIELD: u8 = b'm';
    pub(in super::super) const PROGRESS: u8 = b'p';
    pub(in super::super) const QUARANTINE: u8 = b'q';
    pub(in super::super) const REJECT: u8 = b'r';
    pub(in super::super) const SKIP: u8 = b's';
    pub(in super::super) const TEMPORARY_FAILURE: u8 = b't';
    pub(in super::super) const REPLY_CODE: u8 = b'y';
}
