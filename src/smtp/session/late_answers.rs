//! A policy whose answers come late, in any order, or never, and clients that do not wait for them.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

use proptest::prelude::*;

use super::{Input, Session, Step};
use crate::limits::INQUIRY_WAIT_MAX;
use crate::mail::domain::DomainPattern;
use crate::mail::envelope::Mailbox;
use crate::mail::queue_id::QueueId;
use crate::mail::tag::Delimiters;
use crate::smtp::denial::{Denial, Words};
use crate::smtp::policy::{
    Aliases, Judgement, ListBuilder, Policy, RecipientEntry, RecipientRules, Recipients, Verdict,
};
use crate::smtp::question::{
    Answerable, Awaited, Beginning, Delivered, NotAwaited, OpenQuestion, Question, Recipient, Storing,
};
use crate::smtp::reply::ReplyBuffer;
use crate::smtp::settings::{Limits, Settings};
use crate::smtp::supplies::Supplies;

/// What becomes of a recipient, by its local-part.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    /// Known at once.
    Accepted,
    /// Known at once.
    Refused,
    /// The answer comes later.
    Later(Verdict),
    /// No answer comes.
    Never,
}

const KINDS: [(&str, Kind, u16); 7] = [
    ("known", Kind::Accepted, 250),
    ("nobody", Kind::Refused, 550),
    ("late", Kind::Later(Verdict::Accept), 250),
    ("late-nobody", Kind::Later(Verdict::UnknownRecipient), 550),
    ("late-full", Kind::Later(Verdict::MailboxFull), 452),
    ("late-trouble", Kind::Later(Verdict::TryAgain), 451),
    ("never", Kind::Never, 451),
];

/// The kind of a local-part such as `late-full.7`.
fn kind(local_part: &[u8]) -> Kind {
    let name = local_part.split(|octet| *octet == b'.').next().unwrap_or_default();
    let row = KINDS.iter().find(|(known, _, _)| known.as_bytes() == name);
    row.expect("a name of the table").1
}

struct Late;

impl Policy for Late {
    fn recipient(&self, mailbox: Mailbox<'_>) -> Verdict {
        match kind(mailbox.local_part) {
            Kind::Refused => Verdict::UnknownRecipient,
            Kind::Accepted | Kind::Later(_) | Kind::Never => Verdict::Accept,
        }
    }

    fn judge(&self, mailbox: Mailbox<'_>) -> Judgement {
        match kind(mailbox.local_part) {
            Kind::Accepted | Kind::Refused => Judgement::Known(self.recipient(mailbox)),
            Kind::Later(_) | Kind::Never => Judgement::Asks,
        }
    }

    fn postmaster(&self) -> (&[u8], &[u8]) {
        (b"known", b"x.test")
    }
}

fn settings(policy: Arc<dyn Policy + Send + Sync>) -> Settings {
    let limits = Limits {
        message_size_max: 1 << 20,
        recipients_max: 100,
        connections_per_client_max: 50,
        line_bytes_max: 2048,
        errors_max: 1000,
        idle_commands_max: 1000,
        session_without_mail_max: Duration::from_hours(24),
        command_timeout: Duration::from_mins(5),
        tls_handshake_timeout: Duration::from_mins(1),
        data_timeout: Duration::from_mins(5),
        sink_answer_timeout: Duration::from_mins(5),
        received_max: 100,
        data_line_bytes_max: 0,
        spill_bytes_max: 0,
        spill_files_max: 0,
    };
    Settings { words: ["Go away".into()].into(), ..Settings::of("mx.test".into(), limits, policy) }
}

/// A connection: what of its input waits, what was sent, and the question that is away.
struct Connection {
    session: Session,
    replies: ReplyBuffer,
    now: Instant,
    unread: Vec<u8>,
    /// What was sent together, the greeting and the reply to EHLO left out.
    sent: Vec<String>,
    away: Option<(OpenQuestion<Recipient>, Kind)>,
    /// The recipients of each message.
    stored: Vec<Vec<String>>,
}

impl Connection {
    fn new() -> Self {
        Self::with(Arc::new(Late))
    }

    fn with(policy: Arc<dyn Policy + Send + Sync>) -> Self {
        let now = Instant::now();
        let client = SocketAddr::from(([192, 0, 2, 1], 25_000));
        let mut connection = Self {
            session: Session::new(Arc::new(settings(policy)), client, now),
            replies: ReplyBuffer::new(),
            now,
            unread: Vec::new(),
            sent: Vec::new(),
            away: None,
            stored: Vec::new(),
        };
        connection.session.greet(&mut connection.replies, now);
        connection.send();
        connection.receive(b"EHLO client.test\r\n");
        connection.sent.clear();
        connection
    }

    /// The client sends these octets, whatever is awaited.
    fn receive(&mut self, octets: &[u8]) {
        self.unread.extend_from_slice(octets);
        self.go_on();
    }

    /// As a shard does: consumes input until an answer or input is awaited, then sends what there is to say.
    fn go_on(&mut self) {
        let mut supplies = Supplies::default();
        let unread = std::mem::take(&mut self.unread);
        let mut input = Input::new(&unread, &mut supplies);
        while self.session.awaits().is_none() {
            match self.session.advance(&mut input, &mut self.replies, self.now) {
                Step::NeedInput => break,
                Step::Data(_) | Step::Insert | Step::Discard => {}
                Step::Flush => self.send(),
                Step::Ask(Question::Beginning { asked, .. }) => self.resolve(asked, Ok(())),
                Step::Ask(Question::Recipient { asked }) => {
                    let recipient = self.session.proposed_recipient().expect("it is asked about somebody");
                    self.away = Some((asked, kind(recipient.local_part)));
                }
                Step::Ask(other) => panic!("{other:?} is not asked here"),
                Step::Deliver(envelope) => {
                    let text = |mailbox: Mailbox<'_>| String::from_utf8_lossy(mailbox.whole).into_owned();
                    self.stored.push(envelope.recipients().map(text).collect());
                    let asked = self.session.asked::<Storing>().expect("it is awaited");
                    self.resolve(asked, Delivered::Accepted(QueueId::default()));
                }
                Step::Close => panic!(
                    "the session ended: {}",
                    String::from_utf8_lossy(&self.replies.replace(Vec::new()))
                ),
            }
        }
        self.unread = unread.get(input.position..).unwrap_or_default().to_vec();
        self.send();
    }

    fn resolve<Q: Answerable>(&mut self, asked: OpenQuestion<Q>, answer: Q::Answer) {
        let step = self.session.resolve(asked, answer, &mut self.replies, self.now);
        assert!(matches!(step, Ok(Step::NeedInput)));
    }

    /// The answer comes, or the time for it is over.
    fn conclude(&mut self) {
        let Some((asked, kind)) = self.away.take() else { return };
        if let Kind::Later(verdict) = kind {
            self.resolve(asked, verdict);
        } else {
            self.now = self.session.deadline();
            let step = self.session.expire(&mut self.replies, self.now);
            assert!(matches!(step, Step::NeedInput), "the session goes on");
        }
        // Nobody can answer twice, or after the time.
        let step = self.session.resolve(asked, Verdict::Accept, &mut self.replies, self.now);
        assert!(matches!(step, Err(NotAwaited)));
        self.go_on();
    }

    fn send(&mut self) {
        self.session.handle_sending();
        self.session.handle_sent();
        let said = self.replies.replace(Vec::new());
        if !said.is_empty() {
            self.sent.push(String::from_utf8(said).expect("ASCII"));
        }
    }

    /// The codes of all replies.
    fn codes(&self) -> Vec<u16> {
        let lines = self.sent.iter().flat_map(|said| said.lines());
        lines.map(|line| line.get(..3).and_then(|code| code.parse().ok()).expect("a code")).collect()
    }
}

const MAIL: &str = "MAIL FROM:<a@client.test>\r\n";

fn rcpt(local_part: &str) -> String {
    format!("RCPT TO:<{local_part}@x.test>\r\n")
}

#[test]
fn pipelined_commands_wait_after_the_question_and_their_replies_leave_together() {
    let mut connection = Connection::new();
    let commands = [MAIL, &rcpt("late"), &rcpt("known"), &rcpt("nobody"), "NOOP\r\n"].concat();
    connection.receive(commands.as_bytes());
    assert_eq!(connection.codes(), [250], "only MAIL is answered");
    assert_eq!(connection.session.awaits(), Some(Awaited::Recipient));
    connection.receive(rcpt("late.2").as_bytes());
    assert_eq!(connection.codes(), [250], "what comes meanwhile waits, too");
    connection.conclude();
    assert_eq!(connection.sent.len(), 2, "all replies up to the next question leave together");
    assert_eq!(connection.codes(), [250, 250, 250, 550, 250]);
    connection.conclude();
    assert_eq!(connection.codes(), [250, 250, 250, 550, 250, 250]);
}

#[test]
fn an_answer_that_never_comes_is_451_and_answers_no_later_question() {
    let mut connection = Connection::new();
    connection.receive([MAIL, &rcpt("never"), &rcpt("late-nobody")].concat().as_bytes());
    let (late, _) = connection.away.expect("it is asked");
    let asked_at = connection.now;
    assert_eq!(connection.session.deadline(), asked_at + INQUIRY_WAIT_MAX);
    connection.conclude();
    assert_eq!(connection.codes(), [250, 451]);
    // The next recipient is asked about now: the answer to the first one is not its.
    assert_eq!(connection.session.awaits(), Some(Awaited::Recipient));
    let step = connection.session.resolve(late, Verdict::Accept, &mut connection.replies, connection.now);
    assert!(matches!(step, Err(NotAwaited)) && connection.replies.is_empty());
    connection.conclude();
    assert_eq!(connection.codes(), [250, 451, 550]);
}

#[test]
fn an_answer_meets_only_a_question_of_its_kind() {
    let mut connection = Connection::new();
    connection.receive([MAIL, &rcpt("late")].concat().as_bytes());
    assert!(connection.session.asked::<Recipient>().is_some());
    assert!(connection.session.asked::<Beginning>().is_none());
    assert!(connection.session.asked::<Storing>().is_none());
    // Of the right number, but of another kind.
    let (late, _) = connection.away.expect("it is asked");
    let delivery = OpenQuestion::<Storing>::new(late.number());
    let delivered = Delivered::Accepted(QueueId::default());
    let step = connection.session.resolve(delivery, delivered, &mut connection.replies, connection.now);
    assert!(matches!(step, Err(NotAwaited)) && connection.replies.is_empty());
    assert_eq!(connection.session.summary().accepted, 0);
    connection.conclude();
    assert_eq!(connection.codes(), [250, 250]);
    assert_eq!(connection.session.awaits(), None);
    assert!(connection.session.asked::<Recipient>().is_none());
}

#[test]
fn where_each_recipient_is_asked_about_nobody_learns_who_exists() {
    let mut connection = Connection::new();
    connection.session.ask_about_each_recipient(true);
    let words: &[&str] = &["Go away"];
    for (answer, code) in [
        (Some(Denial::BY_RULE), 550),
        (Some(Denial::GREYLISTED.in_words(Words::number(0))), 451),
        (Some(Denial::GREYLISTED.in_words(Words::number(9))), 451),
        (None, 550),
    ] {
        connection.sent.clear();
        connection.receive([MAIL, &rcpt("nobody")].concat().as_bytes());
        assert_eq!(connection.session.judge_proposed(), Judgement::Known(Verdict::UnknownRecipient));
        let (asked, _) = connection.away.take().expect("it is asked");
        connection.resolve(asked, answer.map_or(Verdict::UnknownRecipient, Verdict::Denied));
        connection.go_on();
        connection.receive(b"RSET\r\n");
        assert_eq!(connection.codes(), [250, code, 250], "{answer:?}");
        let said = connection.sent.concat();
        let is_ours = answer == Some(Denial::GREYLISTED.in_words(Words::number(0)));
        assert_eq!(said.contains(&format!("451 4.7.1 {}\r\n", words[0])), is_ours, "{said}");
    }
    assert_eq!(connection.session.summary().refused_4yz, 2);
}

/// `known@x.test` is an alias for somebody whom RCPT may name, and for two whom it may not;
/// `late.many@x.test` for more than may have a copy of a large message.
fn aliased(asks_store: bool) -> Recipients {
    let domains = [DomainPattern::Exact("x.test".into())];
    let rules = RecipientRules {
        domains_without_mail: &[],
        domains: &domains,
        hostname: "mx.test",
        postmaster: "postmaster@mx.test",
        local_part_case_sensitive: false,
        delimiters: Delimiters::default(),
        local_part_deny: "",
        local_part_leading_dot: true,
        asks_store,
        asks_map: false,
    };
    let mut builder = ListBuilder::new([7; 16], false, 0);
    builder.add(&RecipientEntry::Mailbox { local_part: "late".into(), domain: "x.test".into() });
    let mut aliases = Aliases::new(false);
    let members = ["late@x.test", "nobody@x.test", "late@elsewhere.test"];
    let members = members.map(|member| aliases.add_mailbox(member.as_bytes(), rules.delimiters));
    aliases.add(b"known@x.test", &members);
    let many: Vec<_> = (0..300)
        .map(|number| aliases.add_mailbox(format!("{number}@x.test").as_bytes(), rules.delimiters))
        .collect();
    aliases.add(b"late.many@x.test", &many);
    Recipients::new(&rules, builder.finish().ok()).with_aliases(aliases)
}

#[test]
fn whom_an_alias_brought_is_asked_about_as_anybody_and_is_there_once() {
    let mut connection = Connection::with(Arc::new(aliased(false)));
    connection.session.ask_about_each_recipient(true);
    connection.receive(MAIL.as_bytes());
    for (mailbox, verdict) in [
        ("known@x.test", Some(Verdict::Accept)),
        ("late@elsewhere.test", Some(Verdict::ForeignDomain)),
        ("nobody@x.test", Some(Verdict::UnknownRecipient)),
        ("late@X.test", Some(Verdict::Accept)),
        // From now on RCPT has named this one.
        ("late@x.test", None),
        ("late@elsewhere.test", Some(Verdict::ForeignDomain)),
    ] {
        connection.sent.clear();
        connection.receive(format!("RCPT TO:<{mailbox}>\r\n").as_bytes());
        let asked = connection.away.take();
        assert_eq!(asked.is_some(), verdict.is_some(), "{mailbox}");
        if let Some(((asked, _), verdict)) = asked.zip(verdict) {
            assert_eq!(connection.session.judge_proposed(), Judgement::Known(verdict), "{mailbox}");
            connection.resolve(asked, verdict);
            connection.go_on();
        }
        let is_taken = verdict.unwrap_or(Verdict::Accept) == Verdict::Accept;
        assert_eq!(connection.codes(), [if is_taken { 250 } else { 550 }], "{mailbox}");
    }
    connection.receive(b"DATA\r\n");
    connection.receive(b".\r\n");
    assert_eq!(connection.stored, [["late@x.test", "nobody@x.test", "late@elsewhere.test"]]);
}

#[test]
fn an_alias_that_stands_for_too_many_is_refused_in_the_log_too() {
    let mut connection = Connection::with(Arc::new(aliased(true)));
    connection.session.ask_about_each_recipient(true);
    connection.receive(b"MAIL FROM:<a@y.test> SIZE=1048576\r\n");
    for (mailbox, code) in [("late@x.test", 250), ("late.many@x.test", 452), ("known@x.test", 250)] {
        connection.sent.clear();
        connection.receive(format!("RCPT TO:<{mailbox}>\r\n").as_bytes());
        let (asked, _) = connection.away.take().expect("each is asked about");
        connection.resolve(asked, Verdict::Accept);
        let refusals = connection.replies.take_refusals().unwrap_or_default();
        let told: Vec<_> = refusals.iter().flat_map(|refusal| refusal.to()).collect();
        let expected: &[&[u8]] = if code == 452 { &[b"late.many@x.test"] } else { &[] };
        assert_eq!(told, expected, "{mailbox}");
        connection.go_on();
        assert_eq!(connection.codes(), [code], "{mailbox}");
    }
    connection.receive(b"DATA\r\n");
    connection.receive(b".\r\n");
    assert_eq!(connection.stored, [["late@x.test", "nobody@x.test", "late@elsewhere.test"]]);
}

#[test]
fn a_client_that_leaves_meanwhile_gets_no_answer() {
    let mut connection = Connection::new();
    connection.receive([MAIL, &rcpt("late")].concat().as_bytes());
    let (late, _) = connection.away.expect("it is asked");
    connection.session.handle_end_of_input();
    let step = connection.session.resolve(late, Verdict::Accept, &mut connection.replies, connection.now);
    assert!(matches!(step, Err(NotAwaited)) && connection.replies.is_empty());
    assert!(!connection.session.in_transaction());
}

/// What one client does: transactions of recipients by their place in the table, and the size of the pieces
/// that they arrive in.
fn client() -> impl Strategy<Value = (Vec<Vec<usize>>, usize)> {
    let recipients = prop::collection::vec(0..KINDS.len(), 0..6);
    (prop::collection::vec(recipients, 1..4), 1..200_usize)
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if cfg!(miri) { 4 } else { ProptestConfig::default().cases },
        // Miri has no files to remember a failure in.
        failure_persistence: if cfg!(miri) { None } else { ProptestConfig::default().failure_persistence },
        ..ProptestConfig::default()
    })]

    /// Whatever the order in which answers come to whichever connection, and however little the clients wait:
    /// each reply is that of its command, in order, and a message goes to those who were accepted.
    #[test]
    fn late_answers_come_in_any_order(
        clients in prop::collection::vec(client(), 1..4),
        turns in prop::collection::vec((any::<prop::sample::Index>(), any::<bool>()), 0..60),
    ) {
        let mut connections = Vec::new();
        for (transactions, piece) in &clients {
            let mut octets = Vec::new();
            let (mut codes, mut stored) = (Vec::new(), Vec::new());
            for transaction in transactions {
                octets.extend_from_slice(MAIL.as_bytes());
                codes.push(250);
                let mut accepted = Vec::new();
                for (number, recipient) in transaction.iter().enumerate() {
                    let (name, _, code) = KINDS[*recipient];
                    octets.extend_from_slice(rcpt(&format!("{name}.{number}")).as_bytes());
                    codes.push(code);
                    if code == 250 {
                        accepted.push(format!("{name}.{number}@x.test"));
                    }
                }
                // A chunk may be pipelined whatever comes of the recipients.
                octets.extend_from_slice(b"BDAT 6 LAST\r\ntext\r\nRSET\r\n");
                codes.extend([if accepted.is_empty() { 554 } else { 250 }, 250]);
                if !accepted.is_empty() {
                    stored.push(accepted);
                }
            }
            let pieces: Vec<Vec<u8>> = octets.chunks(*piece).map(<[u8]>::to_vec).collect();
            connections.push((Connection::new(), pieces.into_iter(), codes, stored));
        }
        let count = connections.len();
        let mut turns = turns.into_iter();
        loop {
            let open = |(connection, pieces, _, _): &(Connection, std::vec::IntoIter<Vec<u8>>, _, _)| {
                connection.away.is_some() || pieces.len() > 0
            };
            let Some(first) = connections.iter().position(open) else { break };
            // When the turns of the case are used up, one connection after another is brought to its end.
            let (index, sends) = turns.next().map_or((first, true), |(index, sends)| (index.index(count), sends));
            let (connection, pieces, _, _) = &mut connections[index];
            match if sends { pieces.next() } else { None } {
                Some(piece) => connection.receive(&piece),
                None => connection.conclude(),
            }
        }
        for (connection, _, codes, stored) in &connections {
            prop_assert_eq!(&connection.codes(), codes);
            prop_assert_eq!(&connection.stored, stored);
            prop_assert!(connection.unread.is_empty());
        }
    }
}
