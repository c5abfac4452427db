//! What holds for every server: claims that the fuzz target (`tests/fuzz`) and the property tests share.
//!
//! A naive reader counts beside the client: whole replies in the octets of the server, and commands in what
//! the client says. So it knows which replies answer the end of the mail data, and when they began to arrive;
//! nobody may be accepted by any other.

use std::sync::Arc;

use super::reply::REPLY_TEXT_BYTES_MAX;
use super::{
    Client, Content, Form, Loss, Protocol, Recipient, RecipientResult, Settings, Step, Tls, Transaction,
};
use crate::mail::client::ClientFacts;
use crate::mail::envelope::{BodyType, RecipientParameters};

/// Transactions after which a client that was not ended by its server says QUIT.
const TRANSACTIONS: usize = 4;

const RECIPIENTS: usize = 3;

const ESC: u8 = 0x1b;

/// A session: octet 0 has the settings, octet 1 the size of the pieces (0: any), then come the server's
/// octets, in which ESC ends a piece. After them the connection is lost. It ends; each transaction that began
/// has one result; whoever is accepted is so by a 2yz that came after all of the content was sent.
pub fn check_session(input: &[u8]) {
    let Some(([bits, size], octets)) = input.split_first_chunk::<2>() else { return };
    let mut session = Session::new(*bits);
    let size = if *size == 0 { usize::MAX } else { usize::from(*size) };
    for piece in octets.split(|octet| *octet == ESC).flat_map(|part| part.chunks(size)) {
        session.feed(piece);
    }
    session.client.handle_lost(Loss::Closed);
    session.feed(b"");
    assert!(session.is_over, "a lost connection ends it");
    assert_eq!(session.begun, session.done, "each transaction has its results once");
}

struct Session {
    client: Client,
    bits: u8,
    begun: usize,
    done: usize,
    /// The transaction only asks about its recipients.
    asks: bool,
    is_over: bool,
    /// All replies so far, as a naive reader has them.
    replies: Vec<Seen>,
    /// A line whose end has not come; whether it is the first of its reply; where that began to arrive.
    line: Vec<u8>,
    line_is_first: bool,
    reply_began: usize,
    /// Pieces of octets that arrived.
    pieces: usize,
    /// In which piece the content was asked for that is still to be sent.
    due: Option<usize>,
    /// In which piece the content of the transaction was sent.
    sent: Option<usize>,
    /// Replies that the client had read when the transaction began.
    replies_before: u64,
    /// Commands of the transaction that have a reply each.
    commands: u64,
}

/// A reply: its code, and in which piece its first octet came.
#[derive(Debug, Clone, Copy)]
struct Seen {
    code: u16,
    began: usize,
}

impl Session {
    fn new(bits: u8) -> Self {
        let is = |bit: u8| bits & bit != 0;
        let settings = Settings {
            tls: if is(2) { Tls::Offered } else { Tls::Off },
            xclient: is(4),
            pipelining: !is(8),
            chunking: !is(16),
            ..Settings::of(if is(1) { Protocol::Lmtp } else { Protocol::Smtp }, "client.test")
        };
        let client = Client::new(Arc::new(settings));
        Self {
            client,
            bits,
            begun: 0,
            done: 0,
            asks: false,
            is_over: false,
            replies: Vec::new(),
            line: Vec::new(),
            reply_began: 0,
            line_is_first: true,
            pieces: 0,
            due: None,
            sent: None,
            replies_before: 0,
            commands: 0,
        }
    }

    /// The server's octets arrive in one piece.
    fn feed(&mut self, mut octets: &[u8]) {
        if self.due.is_some_and(|piece| piece < self.pieces) {
            self.finish_content();
        }
        self.pieces += 1;
        self.read(octets);
        // Each turn reads a reply, tells something once, or stops.
        for _ in 0..octets.len() + 16 {
            let mut output = Vec::new();
            let before = octets.len();
            let step = self.client.advance(&mut octets, &mut output);
            assert!(octets.len() <= before && output.len() < 2048, "what is said is bounded");
            self.listen(&output);
            match step {
                Step::NeedInput(_) => return assert!(octets.is_empty(), "all input is consumed"),
                Step::StartTls => self.client.handle_secured(false),
                Step::SendContent(form) => self.send(form),
                Step::Done => self.settle(),
                Step::Ready => {
                    if !octets.is_empty() {
                        continue;
                    }
                    if self.begun == TRANSACTIONS {
                        self.client.quit(&mut Vec::new());
                    } else {
                        self.begin();
                    }
                }
                Step::Spent => self.client.quit(&mut Vec::new()),
                Step::Over(_) => {
                    self.is_over = true;
                    return;
                }
            }
        }
        panic!("it ends");
    }

    /// Reads replies octet by octet.
    fn read(&mut self, octets: &[u8]) {
        for octet in octets {
            if self.line.is_empty() && self.line_is_first {
                self.reply_began = self.pieces;
            }
            self.line.push(*octet);
            if *octet == b'\n' {
                self.line_is_first = self.line.get(3) != Some(&b'-');
                if self.line_is_first {
                    let code = String::from_utf8_lossy(self.line.get(..3).unwrap_or_default()).parse();
                    self.replies.push(Seen { code: code.unwrap_or(0), began: self.reply_began });
                }
                self.line.clear();
            }
        }
    }

    /// Counts the commands that are said.
    fn listen(&mut self, output: &[u8]) {
        assert!(output.is_empty() || output.ends_with(b"\r\n"));
        for line in output.split_inclusive(|octet| *octet == b'\n') {
            // BDAT is answered at its end, as mail data is.
            self.commands += u64::from(line != b".\r\n" && !line.starts_with(b"BDAT "));
        }
    }

    fn begin(&mut self) {
        let facts = ClientFacts { ehlo: vec![b'x'; self.begun / 2], ..ClientFacts::unknown() };
        let transaction = Transaction {
            reverse_path: b"a@b",
            body: BodyType::SevenBit,
            smtputf8: false,
            requiretls: false,
            ret: None,
            envid: b"",
            content: Content { bytes: if self.bits & 32 == 0 { 5 } else { 1 << 20 }, bare_line_ends: false },
            client: Some(&facts),
        };
        let recipient = Recipient { mailbox: b"c@d", parameters: RecipientParameters::default() };
        self.begun += 1;
        (self.sent, self.commands, self.replies_before) = (None, 0, self.client.replies());
        let mut output = Vec::new();
        // A server may say that messages have fewer octets.
        self.asks = self.begun.is_multiple_of(3);
        let begun = if self.asks {
            self.client.ask([recipient; RECIPIENTS], &mut output)
        } else {
            self.client.begin(&transaction, [recipient; RECIPIENTS], &mut output)
        };
        if begun.is_err() {
            self.done += 1;
        }
        self.listen(&output);
    }

    /// Sends the content at once, or the next piece comes while it is sent.
    fn send(&mut self, form: Form) {
        assert!(!self.asks, "nothing is sent where it was only asked");
        assert_eq!((self.sent, self.due), (None, None), "content is sent once");
        assert!(form == Form::Dot || self.client.offers().chunking, "a chunk goes where CHUNKING is offered");
        self.due = Some(self.pieces);
        if self.bits & 64 == 0 {
            self.finish_content();
        }
    }

    fn finish_content(&mut self) {
        self.client.handle_content_sent();
        (self.sent, self.due) = (Some(self.pieces), None);
    }

    fn settle(&mut self) {
        self.done += 1;
        self.due = None;
        let results: Vec<RecipientResult<'_>> = self.client.results().collect();
        assert_eq!(results.len(), RECIPIENTS, "each recipient has its result");
        let mut accepted = 0;
        for result in results {
            let (reply, codes) = match result {
                RecipientResult::Accepted(reply) => {
                    accepted += 1;
                    (reply, 200..300)
                }
                RecipientResult::Temporary(reply) => (reply, 400..553),
                RecipientResult::Permanent(reply) => (reply, 500..600),
                RecipientResult::Unknown => {
                    assert!(self.sent.is_some(), "before the content is sent all is known");
                    continue;
                }
                RecipientResult::Welcome => {
                    assert!(self.asks, "else there is content, which has an answer");
                    continue;
                }
                RecipientResult::Untried | RecipientResult::Lost => continue,
            };
            assert!(codes.contains(&reply.code), "{reply}");
            assert!(reply.text.len() <= REPLY_TEXT_BYTES_MAX);
        }
        if accepted > 0 {
            self.check_accepted(accepted);
        }
    }

    /// So many recipients were accepted: by replies after those to all commands, that began to arrive after
    /// all of the content was sent.
    fn check_accepted(&self, accepted: usize) {
        let sent = self.sent.expect("nobody is accepted before the content is sent");
        let read = usize::try_from(self.client.replies()).expect("a count");
        let answered = usize::try_from(self.replies_before + self.commands).expect("a count");
        let answers = self.replies.get(answered..read).expect("the end was answered");
        let positive = answers.iter().filter(|reply| (200..300).contains(&reply.code));
        let timely = positive.clone().filter(|reply| reply.began > sent).count();
        assert_eq!(positive.count(), timely, "no answer before what it answers");
        if self.bits & 1 == 0 {
            assert_eq!((answers.len(), timely), (1, 1), "the mail data has one answer");
        } else {
            assert_eq!(accepted, timely, "a recipient has one answer");
        }
    }
}
