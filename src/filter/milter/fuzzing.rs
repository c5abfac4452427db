//! What holds for every milter: claims that the fuzz target (`tests/fuzz`) and the property tests share.
//!
//! A naive reader sees beside the session what was said and what the milter answered to which command. So it
//! knows what a ruling may be.

use super::code::{command, reply};
use super::packet;
use super::{Loss, Session, Step};
use crate::filter::{Action, FIELDS_BYTES_MAX, Ruling, Subject};
use crate::mail::client::ClientFacts;
use crate::mail::envelope::Envelope;
use crate::mail::queue_id::QueueId;

/// Messages that a milter is asked about at most.
const MESSAGES: usize = 3;

/// A header section with a line that is no field.
const HEADER: &[u8] = b"A: 1\r\nB: 2\r\n 3\r\nodd\r\n\r\n";

/// What of it is body.
const ODD: &[u8] = b"odd\r\n\r\n";

const BODY: &[u8] = b"text\r\n";

/// Octets that a session says at a time, at most, of such a message.
const SAID_BYTES_MAX: usize = 8192;

/// A milter. Octet 0 has the settings (1: what follows is sent as it is, in pieces; 2: three recipients
/// instead of one), octet 1 the size of the pieces (0: any). Then come its packets, each as the length of its
/// data in one octet, its code, and the data: the next one arrives when the session waits. After them the
/// connection is lost. It ends; each message has at most one ruling, which is one that the milter may have
/// meant; what is added is fields and nothing else; how packets are split changes nothing.
pub fn check_milter(input: &[u8]) {
    let Some(([bits, size], octets)) = input.split_first_chunk::<2>() else { return };
    let recipients = if bits & 2 == 0 { 1 } else { 3 };
    let size = if *size == 0 { usize::MAX } else { usize::from(*size) };
    if bits & 1 != 0 {
        let mut watched = Watched::new(recipients);
        watched.go(b"");
        octets.chunks(size).for_each(|piece| watched.go(piece));
        watched.lose();
        return;
    }
    let whole = answered(octets, recipients, usize::MAX);
    assert_eq!(whole, answered(octets, recipients, size), "pieces change nothing");
    assert_eq!(whole, answered(octets, recipients, 1), "octets change nothing");
}

/// What a session says and finds, when the packets arrive in pieces of this size.
fn answered(mut octets: &[u8], recipients: usize, size: usize) -> Vec<String> {
    let mut watched = Watched::new(recipients);
    watched.go(b"");
    while let Some(([length, code], rest)) = octets.split_first_chunk::<2>() {
        let (data, rest) = rest.split_at(usize::from(*length).min(rest.len()));
        octets = rest;
        if watched.is_over {
            break;
        }
        let mut arrived = Vec::new();
        packet::push(&mut arrived, *code, |output| output.extend_from_slice(data));
        watched.hear(*code, data);
        arrived.chunks(size).for_each(|piece| watched.go(piece));
    }
    watched.lose();
    watched.told
}

struct Watched {
    session: Session,
    recipients: usize,
    begun: usize,
    done: usize,
    body: &'static [u8],
    is_over: bool,
    /// Codes that the milter said of this message, and the command that each answered.
    heard: Vec<(u8, u8)>,
    /// The last command that was said, and its rank in a message.
    last: u8,
    rank: usize,
    /// Octets of body that were said.
    body_bytes: usize,
    /// Whether what the milter says is known packet by packet.
    is_heard: bool,
    /// Whether it is told of the body, by its options.
    wants_body: bool,
    told: Vec<String>,
}

impl Watched {
    fn new(recipients: usize) -> Self {
        Self {
            session: Session::new(),
            recipients,
            begun: 0,
            done: 0,
            body: b"",
            is_over: false,
            heard: Vec::new(),
            last: 0,
            rank: 0,
            body_bytes: 0,
            is_heard: false,
            wants_body: true,
            told: Vec::new(),
        }
    }

    fn hear(&mut self, code: u8, data: &[u8]) {
        self.is_heard = true;
        // Version, actions, then the protocol, in its last octet `SMFIP_NOBODY`.
        if code == command::NEGOTIATE
            && let Some(protocol) = data.get(11)
        {
            self.wants_body = protocol & 1 << 4 == 0;
        }
        self.heard.push((code, self.last));
    }

    /// The milter's octets arrive in one piece.
    fn go(&mut self, mut octets: &[u8]) {
        // Each turn reads a packet, tells something once, says something of a message, or stops.
        for _ in 0..octets.len() + 64 {
            let mut output = Vec::new();
            let before = octets.len();
            let step = self.session.advance(&mut octets, &mut output);
            assert!(octets.len() <= before && output.len() < SAID_BYTES_MAX, "what is said is bounded");
            self.listen(&output);
            match step {
                Step::NeedInput => return assert!(octets.is_empty(), "all input is consumed"),
                Step::Ready if self.begun == MESSAGES => return,
                Step::Ready => self.begin(),
                Step::NeedBody => {
                    let mut output = Vec::new();
                    if self.body.is_empty() {
                        self.session.end_body(&mut output);
                    } else {
                        self.session.give_body(&mut self.body, &mut output);
                    }
                    self.listen(&output);
                }
                Step::Done(ruling) => self.settle(&ruling),
                Step::Spent => {
                    self.is_over = true;
                    return;
                }
                Step::Over(fault) => {
                    if !self.is_over {
                        self.told.push(fault.to_string());
                    }
                    self.is_over = true;
                    return;
                }
            }
        }
        panic!("it ends");
    }

    fn lose(&mut self) {
        self.session.handle_lost(Loss::Closed);
        self.go(b"");
        assert!(self.is_over, "a lost connection ends it");
        assert!(
            self.done <= self.begun && self.begun <= self.done + 1,
            "each message has one ruling at most"
        );
    }

    fn begin(&mut self) {
        self.begun += 1;
        self.heard.clear();
        (self.rank, self.body_bytes, self.body) = (0, 0, BODY);
        let mut envelope = Envelope::default();
        envelope.set_reverse_path(b"a", b"b");
        (0..self.recipients).for_each(|number| envelope.push_recipient(number.to_string().as_bytes(), b"c"));
        let client = ClientFacts { ehlo: b"d".to_vec(), ..ClientFacts::unknown() };
        let subject = Subject { id: QueueId(1), envelope: &envelope, client: &client, hostname: "e" };
        self.session.begin(&subject, HEADER);
    }

    /// Whole packets, in the order of a message.
    fn listen(&mut self, output: &[u8]) {
        const ORDER: &[u8] = b"CHMRTLNBEK";
        let mut rest = output;
        while !rest.is_empty() {
            let packet = packet::first(rest).expect("whole packets");
            rest = &rest[packet.whole.len()..];
            if packet.code == command::MACROS {
                continue;
            }
            self.last = packet.code;
            self.told.push(format!("{} {:?}", char::from(packet.code), packet.data));
            if packet.code == command::BODY {
                self.body_bytes += packet.data.len();
            }
            if packet.code != command::NEGOTIATE {
                let rank =
                    ORDER.iter().position(|code| *code == packet.code).expect("a command of a message");
                assert!(rank >= self.rank, "the order of a message");
                self.rank = rank;
            }
        }
    }

    fn settle(&mut self, ruling: &Ruling) {
        self.done += 1;
        self.told.push(format!("{ruling:?}"));
        let fields = naive_fields(&ruling.fields);
        if self.is_heard {
            self.check_ruling(ruling, fields);
        }
        self.heard.clear();
    }

    fn check_ruling(&self, ruling: &Ruling, fields: usize) {
        let last = self.heard.iter().rfind(|(code, _)| *code != reply::PROGRESS);
        let (code, of) = *last.expect("the milter said so");
        let said = |codes: &[u8]| self.heard.iter().filter(|(code, _)| codes.contains(code)).count();
        assert_eq!(said(b"+-2bem"), 0, "nothing else is changed");
        assert!(ruling.fields.len() <= FIELDS_BYTES_MAX && fields <= 64);
        let has_all = said(b"s") == 0 && code == reply::CONTINUE;
        let wanted = if self.wants_body { ODD.len() + BODY.len() } else { 0 };
        assert!(!has_all || self.body_bytes == wanted, "all of a body that is wanted is told, and no other");
        match &ruling.action {
            Action::Pass | Action::Mark => {
                let is_refusal_of_one = of == command::RECIPIENT && matches!(code, b'r' | b't' | b'y');
                assert!(matches!(code, b'c' | b'a') && !is_refusal_of_one);
                assert!(code == b'a' || of == command::END, "it was asked to the end");
                assert_eq!(ruling.action == Action::Mark, said(b"q") > 0);
                let marks = usize::from(ruling.action == Action::Mark);
                assert_eq!(fields, said(b"hi") + marks, "each field that it adds, and the mark");
            }
            Action::Refuse(_) => {
                assert!(matches!(code, b'r' | b't' | b'y' | b'4' | b'f'));
                let is_of_one = of == command::RECIPIENT && !matches!(code, b'4' | b'f');
                let refused =
                    |(code, of): &&(u8, u8)| *of == command::RECIPIENT && matches!(code, b'r' | b't' | b'y');
                let all = self.heard.iter().filter(refused).count() == self.recipients;
                assert!(!is_of_one || all, "each recipient was refused");
            }
            Action::Discard => assert!(code == b'd' && !matches!(of, command::CONNECT | command::HELO)),
            Action::Greylist => panic!("no milter can say so"),
        }
        assert!(fields == 0 || matches!(ruling.action, Action::Pass | Action::Mark));
    }
}

/// How many fields a reader who ends lines at any line end sees; each line is one of a field.
pub(in crate::filter) fn naive_fields(fields: &[u8]) -> usize {
    let Some(lines) = fields.strip_suffix(b"\r\n") else {
        assert!(fields.is_empty(), "whole lines");
        return 0;
    };
    let mut count = 0;
    for line in lines.split(|octet| *octet == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        assert!(line.iter().all(|octet| *octet == b'\t' || !octet.is_ascii_control()), "no controls");
        assert!(!line.trim_ascii().is_empty(), "no end of the header section");
        if !line.starts_with(b" ") && !line.starts_with(b"\t") {
            let colon = line.iter().position(|octet| *octet == b':').expect("a name and a colon");
            assert!(colon > 0 && line[..colon].iter().all(u8::is_ascii_graphic), "a name");
            count += 1;
        } else {
            assert!(count > 0, "a fold has something to continue");
        }
    }
    count
}
