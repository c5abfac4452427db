//! The common path of the protocol core allocates nothing: no command, no transaction, no reply.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use ringmx::client::{self, Client};
use ringmx::config::Config;
use ringmx::mail::client::ClientFacts;
use ringmx::mail::envelope::{BodyType, RecipientParameters};
use ringmx::mail::queue_id::QueueId;
use ringmx::smtp::extension::ExtensionSet;
use ringmx::smtp::policy::Recipients;
use ringmx::smtp::question::{Delivered, Question, Storing};
use ringmx::smtp::reply::ReplyBuffer;
use ringmx::smtp::session::{Input, Session, Step};
use ringmx::smtp::settings::Settings;
use ringmx::smtp::supplies::Supplies;
use ringmx::smtp::trace;

/// Counts allocations of the thread that runs the only test.
struct Counting;

static COUNT: AtomicUsize = AtomicUsize::new(0);

#[allow(unsafe_code)]
// SAFETY: every call is handed to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        COUNT.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller's promises are passed on.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's promises are passed on.
        unsafe { System.dealloc(pointer, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

struct Driver {
    session: Session,
    replies: ReplyBuffer,
    supplies: Supplies,
    facts: ClientFacts,
    received: Vec<u8>,
    now: Instant,
}

impl Driver {
    fn send(&mut self) {
        self.session.handle_sending();
        self.replies.clear();
        self.session.handle_sent();
    }

    fn feed(&mut self, octets: &[u8]) {
        let mut input = Input::new(octets, &mut self.supplies);
        loop {
            match self.session.advance(&mut input, &mut self.replies, self.now) {
                Step::NeedInput => return self.send(),
                Step::Data(_) | Step::Insert | Step::Discard => {}
                Step::Flush => self.replies.clear(),
                Step::Ask(Question::Beginning { asked, .. }) => {
                    self.session.resolve(asked, Ok(()), &mut self.replies, self.now).expect("it is awaited");
                }
                Step::Ask(other) => panic!("unexpected {other:?}"),
                Step::Deliver(envelope) => {
                    self.session.tell(&mut self.facts);
                    self.received.clear();
                    let wall_clock = std::time::SystemTime::UNIX_EPOCH;
                    let id = QueueId::default();
                    trace::received(&mut self.received, "mx.test", &self.facts, &envelope, id, wall_clock);
                    input.supplies.keep_envelope(envelope);
                    let asked = self.session.asked::<Storing>().expect("it is awaited");
                    let answer = Delivered::Accepted(id);
                    self.session.resolve(asked, answer, &mut self.replies, self.now).expect("it is awaited");
                }
                Step::Close => panic!("the session ended"),
            }
        }
    }
}

#[test]
fn a_transaction_of_the_protocol_core_allocates_nothing() {
    let config = Config::embedded_default();
    let listener = &config.listeners[0];
    let policy = Arc::new(Recipients::new(&config.recipient_rules(), None));
    let settings = Settings {
        hostname: "mx.test".into(),
        extensions: ExtensionSet::all(),
        ..config.session_settings(listener, policy)
    };
    let now = Instant::now();
    let client = "192.0.2.1:25".parse().expect("an address");
    let mut driver = Driver {
        session: Session::new(Arc::new(settings), client, now).counted_in(&Arc::default()),
        replies: ReplyBuffer::new(),
        supplies: Supplies::default(),
        facts: ClientFacts::unknown(),
        received: Vec::new(),
        now,
    };
    driver.session.greet(&mut driver.replies, now);
    driver.send();
    driver.feed(b"EHLO client.example\r\n");
    let body = [b"Subject: x\r\n\r\n".to_vec(), b"..text\r\n".repeat(500), b".\r\n".to_vec()].concat();
    let transactions = |driver: &mut Driver, count: usize| {
        for _ in 0..count {
            driver.feed(b"MAIL FROM:<Some.Sender@Example.com> SIZE=5000 BODY=8BITMIME\r\n");
            driver.feed(b"RCPT TO:<first@example.org>\r\nRCPT TO:<second@Example.ORG>\r\n");
            driver.feed(b"DATA\r\n");
            driver.feed(&body);
            driver.feed(b"MAIL FROM:<> RET=HDRS ENVID=x\r\nRCPT TO:<\"a b\"@example.org> NOTIFY=NEVER\r\n");
            driver.feed(b"BDAT 10\r\n0123456789BDAT 6 LAST\r\ntext\r\n");
        }
    };
    transactions(&mut driver, 10);
    let before = COUNT.load(Ordering::Relaxed);
    transactions(&mut driver, 100);
    let allocated = COUNT.load(Ordering::Relaxed) - before;
    assert_eq!(allocated, 0, "allocations in 200 transactions");
    assert_eq!(driver.session.summary().accepted, 220);
    the_client_allocates_nothing();
}

/// The same of the other end. In the same test, because another one would be counted beside it.
fn the_client_allocates_nothing() {
    let settings = client::Settings::of(client::Protocol::Smtp, "client.test");
    let mut client = Client::new(Arc::new(settings));
    let mut output = Vec::new();
    client.advance(&mut &b"220 mx.test\r\n"[..], &mut output);
    let hello = b"250-mx.test\r\n250-PIPELINING\r\n250-SIZE\r\n250 CHUNKING\r\n";
    assert_eq!(client.advance(&mut &hello[..], &mut output), client::Step::Ready);
    let mut transactions = |count: usize| {
        for _ in 0..count {
            output.clear();
            let transaction = client::Transaction {
                reverse_path: b"sender@example.com",
                body: BodyType::SevenBit,
                smtputf8: false,
                requiretls: false,
                ret: None,
                envid: b"",
                content: client::Content { bytes: 4096, bare_line_ends: false },
                client: None,
            };
            let parameters = RecipientParameters::default();
            let recipients = [b"first@example.org", b"other@example.org"]
                .map(|mailbox| client::Recipient { mailbox, parameters });
            client.begin(&transaction, recipients, &mut output).expect("it fits");
            assert!(matches!(client.advance(&mut &b""[..], &mut output), client::Step::SendContent(_)));
            client.handle_content_sent();
            // The last reply arrives in two pieces.
            let replies = b"250 2.1.0 ok\r\n250 2.1.5 ok\r\n550 5.1.1 no such recipient\r\n250 2.0.0 que";
            assert!(matches!(client.advance(&mut &replies[..], &mut output), client::Step::NeedInput(_)));
            assert_eq!(client.advance(&mut &b"ued\r\n"[..], &mut output), client::Step::Done);
            assert_eq!(client.results().len(), 2);
            assert_eq!(client.advance(&mut &b""[..], &mut output), client::Step::Ready);
        }
    };
    transactions(2);
    let before = COUNT.load(Ordering::Relaxed);
    transactions(100);
    assert_eq!(COUNT.load(Ordering::Relaxed) - before, 0, "allocations in 100 transactions of the client");
}
