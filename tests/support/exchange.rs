//! A session driven in memory: what a connection does, without sockets, pools or clocks.

use std::net::SocketAddr;
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

use ringmx::config::Config;
use ringmx::limits::REPLY_BYTES_MAX;
use ringmx::mail::client::{ClientFacts, TlsFacts};
use ringmx::mail::envelope::{BodyType, Envelope, Mailbox};
use ringmx::mail::outcome::{Refused, TryAgain};
use ringmx::mail::queue_id::QueueId;
use ringmx::smtp::denial::Denial;
use ringmx::smtp::policy::{Recipients, Verdict};
use ringmx::smtp::question::{Answerable, Delivered, OpenQuestion, Question, Storing};
use ringmx::smtp::reply::ReplyBuffer;
use ringmx::smtp::session::{Input, Session, Step};
use ringmx::smtp::settings::Settings;
use ringmx::smtp::supplies::Supplies;

/// What became of an exchange so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Seen {
    /// All replies.
    pub replies: Vec<u8>,
    /// Messages handed over and answered 250.
    pub stored: Vec<Stored>,
    /// The session said to close.
    pub closed: bool,
}

/// A message as it was stored.
#[derive(Debug, Clone)]
pub struct Stored {
    /// Without angle brackets.
    pub reverse_path: Vec<u8>,
    /// `local-part@domain`.
    pub recipients: Vec<Vec<u8>>,
    /// BODY= of MAIL.
    pub body: BodyType,
    /// SIZE= of MAIL.
    pub size: Option<u64>,
    /// After transparency.
    pub data: Vec<u8>,
    /// What trace information would say of the client.
    pub client: ClientFacts,
    /// What else the envelope and the trace say, as `name=value`.
    pub facts: Vec<String>,
}

fn facts(envelope: &Envelope, protocol: &str, tls: Option<&TlsFacts>) -> Vec<String> {
    let mut facts = vec![
        format!("with={protocol}"),
        format!("tls={}", tls.map_or("none", |tls| tls.version)),
        format!("body={:?}", envelope.body),
        format!("smtputf8={}", envelope.smtputf8),
        format!("requiretls={}", envelope.requiretls),
        format!("bare={}", envelope.bare_line_ends),
        format!("ret={:?}", envelope.ret),
        format!("envid={}", envelope.envid().escape_ascii()),
    ];
    for (mailbox, parameters) in envelope.recipients_with_parameters() {
        let mailbox = mailbox.whole.escape_ascii();
        let notify = parameters.notify.map_or("none".into(), |notify| notify.to_string());
        facts.push(format!("{mailbox}:notify={notify}"));
        facts.push(format!("{mailbox}:orcpt={}", parameters.orcpt.escape_ascii()));
    }
    facts
}

impl PartialEq for Stored {
    fn eq(&self, other: &Self) -> bool {
        let parts = |of: &Self| {
            let client = (of.client.address, of.client.ehlo.clone(), of.client.protocol);
            (
                of.reverse_path.clone(),
                of.recipients.clone(),
                of.body,
                of.size,
                of.data.clone(),
                client,
                of.facts.clone(),
            )
        };
        parts(self) == parts(other)
    }
}

impl Eq for Stored {}

/// What the outside says to the next question or message, once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Trouble {
    /// 4yz.
    TryAgain(TryAgain),
    /// 5yz.
    Refused,
    /// Nobody knows.
    Unknown,
}

/// What a store says of recipients.
pub type Store = Box<dyn FnMut(Mailbox<'_>) -> Verdict>;

/// A session and its outside.
pub struct Exchange {
    session: Session,
    replies: ReplyBuffer,
    /// The time of the next call.
    pub now: Instant,
    /// What was seen.
    pub seen: Seen,
    /// Said once, then forgotten.
    pub trouble: Option<Trouble>,
    /// The next mail data cannot be kept.
    pub no_memory: bool,
    /// The next client that a front speaks for has too many connections.
    pub too_many: bool,
    /// What the store says of a recipient that it is asked about.
    pub store: Store,
    data: Vec<u8>,
    /// The session said that the mail data will be refused: no more of it may come.
    discarded: bool,
}

/// The configuration that accepts any recipient, under the name `mx.test`.
pub fn config() -> Config {
    // Read once: a test has many thousand sessions.
    static CONFIG: LazyLock<Config> = LazyLock::new(|| {
        let mut config = Config::embedded_default();
        config.hostname = "mx.test".into();
        config.postmaster = "postmaster@mx.test".into();
        config
    });
    CONFIG.clone()
}

/// What sessions are told with the defaults of the configuration.
pub fn settings() -> Settings {
    let config = config();
    let policy = Arc::new(Recipients::new(&config.recipient_rules(), None));
    Settings::of(config.hostname, config.limits, policy)
}

/// What a handshake might negotiate.
pub const TLS: TlsFacts = TlsFacts {
    version: "TLSv1.3",
    cipher: "TLS_AES_256_GCM_SHA384",
    resumed: false,
    client_certificate: false,
    server_name: None,
};

impl Exchange {
    /// A session that has sent its greeting.
    pub fn new(settings: Settings) -> Self {
        let mut exchange = Self::connected(settings);
        exchange.send();
        exchange
    }

    /// A session whose greeting waits to be sent.
    pub fn connected(settings: Settings) -> Self {
        let client = SocketAddr::from(([127, 0, 0, 1], 25_000));
        let now = Instant::now();
        let mut exchange = Self {
            session: Session::new(Arc::new(settings), client, now),
            replies: ReplyBuffer::new(),
            now,
            seen: Seen::default(),
            trouble: None,
            no_memory: false,
            too_many: false,
            store: Box::new(|_| Verdict::Accept),
            data: Vec::new(),
            discarded: false,
        };
        if matches!(exchange.session.greet(&mut exchange.replies, now), Step::Close) {
            exchange.close();
        }
        exchange
    }

    /// The connection is under TLS.
    #[must_use]
    pub fn under_tls(mut self) -> Self {
        self.secure();
        self
    }

    /// The handshake is done.
    pub fn secure(&mut self) {
        match self.session.handle_tls(TLS, &mut self.replies, self.now) {
            Step::Close => self.close(),
            step => {
                assert!(matches!(step, Step::NeedInput));
                self.send();
            }
        }
    }

    /// The client sends these octets, in one piece.
    pub fn receive(&mut self, octets: &[u8]) {
        self.receive_piece(octets, false);
        self.send();
    }

    /// The client's octets arrive in these pieces, all of them before anything is answered.
    pub fn receive_together(&mut self, pieces: &[&[u8]]) {
        for (index, piece) in pieces.iter().enumerate() {
            self.receive_piece(piece, pieces[index + 1..].iter().any(|piece| !piece.is_empty()));
        }
        self.send();
    }

    fn receive_piece(&mut self, octets: &[u8], more: bool) {
        let mut supplies = Supplies::default();
        let mut input = Input { more, ..Input::new(octets, &mut supplies) };
        while !self.seen.closed {
            let before = input.position;
            let step = self.session.advance(&mut input, &mut self.replies, self.now);
            assert!(before <= input.position && input.position <= octets.len(), "the position only moves on");
            assert!(self.replies.len() <= REPLY_BYTES_MAX, "the replies are bounded");
            match step {
                Step::NeedInput => {
                    assert_eq!(input.position, octets.len(), "all input is consumed");
                    break;
                }
                Step::Data(range) => self.keep(&octets[range]),
                Step::Insert => self.keep(input.supplies.run.octets()),
                Step::Discard => {
                    self.discarded = true;
                    self.data.clear();
                }
                Step::Ask(question) => self.answer(question),
                Step::Deliver(envelope) => {
                    assert!(!self.discarded, "what is refused is not delivered");
                    let answer = match self.trouble.take() {
                        None => Delivered::Accepted(QueueId(1 + self.seen.stored.len() as u128)),
                        Some(Trouble::TryAgain(why)) => Delivered::TryAgain(why),
                        Some(Trouble::Refused) => Delivered::Refused(Refused::Recipient),
                        Some(Trouble::Unknown) => {
                            self.expire();
                            continue;
                        }
                    };
                    let data = std::mem::take(&mut self.data);
                    if let Delivered::Accepted(_) = answer {
                        let mut client = ClientFacts::unknown();
                        self.session.tell(&mut client);
                        self.seen.stored.push(Stored {
                            reverse_path: envelope.reverse_path().to_vec(),
                            recipients: envelope.recipients().map(|mailbox| mailbox.whole.to_vec()).collect(),
                            body: envelope.body,
                            size: envelope.size_declared,
                            data,
                            facts: facts(&envelope, self.session.protocol(), client.tls.as_ref()),
                            client,
                        });
                    }
                    let asked = self.session.asked::<Storing>().expect("it is awaited");
                    self.resolve(asked, answer);
                }
                Step::Flush => {
                    assert!(!self.replies.is_empty(), "there is something to flush");
                    self.send();
                }
                Step::Close => self.close(),
            }
        }
    }

    fn answer(&mut self, question: Question) {
        match question {
            Question::Admission { asked, .. } => {
                let too_many = std::mem::take(&mut self.too_many);
                self.resolve(asked, if too_many { Err(Denial::TOO_MANY_CONNECTIONS) } else { Ok(()) });
            }
            Question::Recipient { asked } => {
                let recipient = self.session.proposed_recipient().expect("it is asked about somebody");
                let store = &mut self.store;
                let mut refused =
                    |mailbox: Mailbox<'_>| Some(store(mailbox)).filter(|verdict| *verdict != Verdict::Accept);
                // A shard does the same.
                let refusal = match self.session.settings().policy.aliased(recipient) {
                    None => refused(recipient),
                    Some(mut targets) => targets.find_map(&mut refused).map(|verdict| match verdict {
                        Verdict::UnknownRecipient | Verdict::Unstorable => Verdict::TryAgain,
                        other => other,
                    }),
                };
                let verdict = refusal.unwrap_or(Verdict::Accept);
                self.resolve(asked, verdict);
            }
            Question::Encryption { asked } => {
                let possible = self.trouble.take().is_none();
                self.resolve(asked, possible);
            }
            Question::Beginning { asked, .. } => {
                let begins = match self.trouble.take() {
                    Some(Trouble::TryAgain(why)) => Err(why.into()),
                    other => {
                        self.trouble = other;
                        Ok(())
                    }
                };
                self.data.clear();
                self.discarded = false;
                self.resolve(asked, begins);
            }
        }
    }

    /// What is awaited does not come.
    fn expire(&mut self) {
        self.now = self.session.deadline();
        let step = self.session.expire(&mut self.replies, self.now);
        if matches!(step, Step::Close) { self.close() } else { self.send() }
    }

    /// Time passes, and the deadline with it.
    pub fn wait(&mut self, time: Duration) {
        self.now += time;
        if self.session.deadline() <= self.now && !self.seen.closed {
            let step = self.session.expire(&mut self.replies, self.now);
            if matches!(step, Step::Close) { self.close() } else { self.send() }
        }
    }

    /// The server stops.
    pub fn shut_down(&mut self) {
        if self.session.shut_down(&mut self.replies) {
            self.close();
        }
    }

    /// The client closes its half.
    pub fn end_input(&mut self) {
        self.session.handle_end_of_input();
        self.close();
    }

    fn keep(&mut self, octets: &[u8]) {
        assert!(self.session.in_transaction());
        assert!(!octets.is_empty(), "mail data is something");
        assert!(!self.discarded, "nothing of what is refused is handed on");
        if std::mem::take(&mut self.no_memory) {
            self.discarded = true;
            self.data.clear();
            self.session.handle_lost_data(TryAgain::Overload.into());
        } else {
            self.data.extend_from_slice(octets);
        }
    }

    fn resolve<Q: Answerable>(&mut self, asked: OpenQuestion<Q>, answer: Q::Answer) {
        assert!(self.session.in_transaction() && self.session.awaits() == Some(Q::AWAITED));
        match self.session.resolve(asked, answer, &mut self.replies, self.now).expect("it is awaited") {
            Step::Close => self.close(),
            step => assert!(matches!(step, Step::NeedInput)),
        }
    }

    fn close(&mut self) {
        self.send();
        self.seen.closed = true;
    }

    /// The replies are sent.
    pub fn send(&mut self) {
        self.session.handle_sending();
        self.session.handle_sent();
        self.seen.replies.extend(self.replies.replace(Vec::new()));
    }
}
