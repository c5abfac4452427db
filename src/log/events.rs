//! Every event of the log and every field, in one table: what is not in it cannot be written, and the
//! reference is made from it (`reference`).
//!
//! A new event is a row of `events!`; a new field is a row of `fields!` and a name in the rows of its events.
//! A record that writes another field, or one of another kind, fails in every build with debug assertions,
//! so in every test.

use super::level::Level;

/// A kind of record.
#[derive(Debug)]
pub struct Event {
    /// Its word.
    pub name: &'static str,
    /// How much an operator has to know of it.
    pub level: Level,
    /// What it says.
    pub meaning: &'static str,
    /// What its records may have, in their order.
    pub fields: &'static [&'static str],
}

/// What a field is in JSON.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A string.
    Text,
    /// A number.
    Number,
    /// `true` or `false`.
    Boolean,
    /// A list of strings.
    Texts,
    /// A list of numbers.
    Numbers,
}

/// A field of records.
#[derive(Debug)]
pub struct Field {
    /// Its name.
    pub name: &'static str,
    /// What it is in JSON.
    pub kind: Kind,
    /// What it says.
    pub meaning: &'static str,
}

/// In the row of an event: its records have any counter that is not 0, by its name and as a number.
pub const COUNTERS: &str = "(counters)";

impl Event {
    /// Whether its records may have this field.
    pub fn has(&self, name: &str, kind: Kind) -> bool {
        let is_counter = kind == Kind::Number && self.fields.contains(&COUNTERS);
        let is_of_all = name == CUT.name && kind == CUT.kind;
        let is_declared = || FIELDS.iter().any(|field| field.name == name && field.kind == kind);
        is_counter || is_of_all || self.fields.contains(&name) && is_declared()
    }
}

/// A field that any record may have.
pub const CUT: Field = Field {
    name: "cut",
    kind: Kind::Boolean,
    meaning: "The record was too long; texts, entries of a list or fields at its end are missing",
};

macro_rules! events {
    ($($(#[doc = $doc:literal])+ $constant:ident = $name:literal $level:ident $fields:expr;)+) => {
        $(
            $(#[doc = $doc])+
            pub static $constant: Event = Event {
                name: $name,
                level: Level::$level,
                meaning: concat!($($doc),+).trim_ascii(),
                fields: &$fields,
            };
        )+

        /// All of them.
        pub static ALL: &[&Event] = &[$(&$constant),+];
    };
}

macro_rules! fields {
    ($($(#[doc = $doc:literal])+ $name:literal $kind:ident;)+) => {
        /// All fields.
        pub static FIELDS: &[Field] = &[
            $(Field { name: $name, kind: Kind::$kind, meaning: concat!($($doc),+).trim_ascii() },)+
        ];
    };
}

events! {
    /// A message was stored, or could not be. Of messages that could not be stored, for a reason of this
    /// machine, each shard writes one a minute for each outcome, and counts the others (`messages`).
    MESSAGE = "message" Info [
        "session", "id", "message_id", "client", "ehlo", "with", "tls", "cipher", "resumed",
        "client_certificate", "server_name", "from", "to", "bytes", "filters", "outcome", "told", "place",
        "envelope_ms", "data_ms", "stored_ms",
    ];
    /// What was found of who vouches for a message, and what becomes of it: all that a report to the domain
    /// of its author needs (RFC 9990). It comes before the line of the message, or of its refusal.
    AUTHENTICATED = "authenticated" Info [
        "session", "id", "client", "author", "author_problem", "spf", "spf_domain", "spf_helo", "ehlo", "dkim",
        "dmarc", "aligned", "policy_domain", "p", "sp", "np", "tests", "applied", "because",
    ];
    /// So many messages more had this outcome, and no line.
    MESSAGES = "messages" Info ["outcome", "more", "seconds"];
    /// A client was refused something: a reply of 4yz or 5yz to a command or to mail data, or to the
    /// connection. The greeting of a listener that takes no mail is none. A session has at most 20 of
    /// these lines. All clients together have so many a second and shard as `log.session_lines_max` says,
    /// one client an eighth of them, or 21. Where this machine is the reason, each shard writes one a
    /// minute for each reason. All others are counted (`refused-more`, `refusals`).
    REFUSED = "refused" Info [
        "session", "id", "client", "front", "ehlo", "from", "to", "recipients", "filters", "step", "reply", "reason",
    ];
    /// Something that only warns would have refused something with this reply: recipients, a connection, a
    /// transaction. A session has one of these lines for each kind; they share their rate with `refused`.
    WOULD_REFUSE = "would-refuse" Info [
        "session", "client", "front", "ehlo", "from", "reply", "reason",
    ];
    /// A list in the DNS does not answer its test entries as it should, and counts nothing until it does.
    LIST_OFF = "list-off" Warning ["list", "text"];
    /// A list in the DNS said something of a client that it may say, after it was off.
    LIST_ON = "list-on" Notice ["list", "text"];
    /// A session had so many refusals more than it may have lines. Comes with its end.
    REFUSED_MORE = "refused-more" Info ["session", "client", "front", "ehlo", "more"];
    /// So many refusals more had this reason, which is one of this machine, and no line; or so many were over
    /// the rate.
    REFUSALS = "refusals" Info ["reason", "more", "over_rate", "seconds"];
    /// A session is over. One that brought mail always has its line; one without a command has
    /// none, and others have so many a second (`log.session_lines_max`); `sessions` counts the rest.
    SESSION = "session" Info [
        "session", "client", "front", "ehlo", "with", "tls", "cipher", "resumed", "client_certificate",
        "server_name", "tls_failed", "no_proxy_header", "commands", "accepted", "refused_4yz", "refused_5yz",
        "ended_by", "took_ms", "score", "score_reasons",
    ];
    /// Sessions that had no line of their own in the last 10 seconds or more, if there were any.
    SESSIONS = "sessions" Info [
        "seconds", "silent_server", "silent_client", "silent_lost", "health_checks", "put_off", "over_rate",
    ];
    /// Lines were lost because whoever reads the log was too slow, or its file could not be written.
    DROPPED = "dropped" Warning ["lines", "session_lines"];
    /// Something failed on this machine. Equal errors are counted and told once a minute.
    ERROR = "error" Error ["text", "tried", "path", "error", "more", "since", "seconds"];
    /// No equal error came for a minute, or the program stops.
    ERROR_ENDED = "error-ended" Notice ["tried", "path", "error", "count", "last"];
    /// Something is allowed and probably not meant, or will hurt.
    WARNING = "warning" Warning ["text", "times"];
    /// What an operator should know and need not cure.
    NOTE = "note" Notice ["text", "times"];
    /// A listener accepts connections.
    LISTENING = "listening" Notice ["address"];
    /// The administration answers at this address: metrics, health, status page.
    ADMIN = "admin" Notice ["address"];
    /// The cores on which shards run.
    SHARDS = "shards" Notice ["cpus"];
    /// Where mail goes, and what a 250 promises.
    SINK = "sink" Notice ["into", "promise"];
    /// For whom mail is taken.
    ACCEPTING = "accepting" Notice ["for"];
    /// What the process has given up from now on: the number of the user that it is, the version of Landlock
    /// that holds (0 for none), and whether system calls are restricted.
    SANDBOX = "sandbox" Notice ["user", "landlock", "seccomp"];
    /// All threads serve.
    READY = "ready" Notice [];
    /// New sessions begin with what was read again: by SIGHUP (`signal`), by `ringmx reload` (`command`), or
    /// because a file has changed (`files`). Of the forwarder: it begins anew with it.
    RELOADED = "reloaded" Notice ["generation", "by", "listeners", "listed", "took_ms"];
    /// What was read again cannot be used; the lines before it say why. New sessions begin as before.
    NOT_RELOADED = "not-reloaded" Error ["generation", "text"];
    /// A key has another value, which a reload does not take.
    NEEDS_RESTART = "needs-restart" Warning ["text"];
    /// Of the forwarder: the next hop has the message for so many recipients.
    FORWARDED = "forwarded" Info [
        "id", "destination", "recipients", "reply", "queue_ms", "connect_ms", "took_ms", "age_ms",
    ];
    /// Of the forwarder: it is tried again for so many recipients.
    DEFERRED = "deferred" Info [
        "id", "destination", "recipients", "reply", "queue_ms", "connect_ms", "took_ms", "age_ms",
    ];
    /// Of the forwarder: so many recipients do not get it. It stays in `forward/dead` of the spool.
    UNDELIVERABLE = "undeliverable" Info [
        "id", "destination", "recipients", "reply", "queue_ms", "connect_ms", "took_ms", "age_ms",
    ];
    /// Of the forwarder: a message lost its connection five times. Nobody tries it for so many recipients,
    /// and it does not expire, until an operator says so.
    HELD = "held" Warning [
        "id", "destination", "recipients", "reply", "queue_ms", "connect_ms", "took_ms", "age_ms",
    ];
    /// Of the forwarder: no route takes the domains of so many recipients of a message. It is held for them
    /// until a start with a route that does.
    UNROUTED = "unrouted" Warning ["id", "recipients"];
    /// Of the forwarder: a notice to the sender of a message was made, which tells of so many recipients. It
    /// is mail of its own, and is forwarded to the destination `notices`.
    NOTIFIED = "notified" Info ["id", "notice", "recipients"];
    /// Of the forwarder: senders were told nothing so many times, because there were too many notices in this
    /// hour: 30 to one domain, or 1,000. Told at the first one, and with their number when the hour is over.
    NOTICES_WITHHELD = "notices-withheld" Warning ["notices"];
    /// Of the forwarder: no session with a next hop can begin, or it ends each within a message. It is tried
    /// again by itself.
    NEXT_HOP_DOWN = "next-hop-down" Warning ["next_hop", "why"];
    /// Of the forwarder: a next hop takes mail, after it did not.
    NEXT_HOP_UP = "next-hop-up" Notice ["next_hop"];
    /// Of the forwarder: what an operator asked for (`ringmx queue …`) is done, for so many messages or next
    /// hops, or was begun for so many; `why` it was not begun.
    OPERATION = "operation" Notice ["operation", "done", "failed", "why"];
    /// Of the forwarder: an operator threw away what lay there, of so many recipients.
    REMOVED = "removed" Notice ["place", "recipients"];
    /// Of the forwarder: it reads this spool, with so much that waits and was given up.
    FORWARDING = "forwarding" Notice ["spool", "routes", "waiting", "dead"];
    /// The stop begins, as asked for.
    STOPPING = "stopping" Notice ["text", "connections", "away", "seconds"];
    /// The stop begins because something failed.
    FAILING = "failing" Error ["text", "connections", "away", "seconds"];
    /// What the stop still waits for. Told every few seconds until it ends.
    WAITING = "waiting" Notice ["connections", "away", "seconds", "for"];
    /// The end, with what was counted since the start and is not 0; of the forwarder, whether all is settled.
    STOPPED = "stopped" Notice ["text", COUNTERS];
    /// A bug of ringmx.
    PANIC = "panic" Error ["text"];
}

fields! {
    /// The session, the same in all its lines; sorts by time
    "session" Text;
    /// The message: the id that is in the reply, in `Received:` and in the store
    "id" Text;
    /// `Message-ID:` as the sender wrote it, from the first 16 KiB of the header section; cut at 250 octets
    "message_id" Text;
    /// The SMTP client, address and port
    "client" Text;
    /// The trusted front that spoke for the client
    "front" Text;
    /// What the client called itself
    "ehlo" Text;
    /// The protocol, as in `Received:`
    "with" Text;
    /// The version of TLS
    "tls" Text;
    /// The cipher suite
    "cipher" Text;
    /// A session of TLS was resumed
    "resumed" Boolean;
    /// `unverified`: the client showed a certificate, which nobody verifies
    "client_certificate" Text;
    /// The name that the client asked for (SNI)
    "server_name" Text;
    /// Why TLS failed
    "tls_failed" Text;
    /// How the front failed to send a PROXY header
    "no_proxy_header" Text;
    /// What lists in the DNS come to
    "score" Text;
    /// What the score is the sum of: weight and list
    "score_reasons" Texts;
    /// Domains of the author: of the mailboxes in From:
    "author" Texts;
    /// Why nobody can vouch for the author
    "author_problem" Text;
    /// Result of SPF for the domain of the reverse-path
    "spf" Text;
    /// That domain
    "spf_domain" Text;
    /// Result of SPF for what the client calls itself
    "spf_helo" Text;
    /// Each signature: result, domain, selector and algorithm
    "dkim" Texts;
    /// Result of DMARC
    "dmarc" Text;
    /// By what the author's domain vouches for the message: `spf`, `dkim`
    "aligned" Texts;
    /// Whose DMARC record applies
    "policy_domain" Text;
    /// Its policy
    "p" Text;
    /// Its policy for subdomains, where it has one
    "sp" Text;
    /// Its policy for subdomains that do not exist, where it has one
    "np" Text;
    /// It only tests its policy
    "tests" Boolean;
    /// What is applied to the message: `none`, `quarantine` (a mark) or `reject`
    "applied" Text;
    /// Why that is not what the policy says
    "because" Text;
    /// A list in the DNS, by its public name
    "list" Text;
    /// The reverse-path; what the client sent where that is none
    "from" Text;
    /// The recipients; where one was refused, that one, as the client sent it if it is no address
    "to" Texts;
    /// How many recipients the transaction had, where not all are shown; of the forwarder, of how many the
    /// line tells
    "recipients" Number;
    /// Octets of mail data
    "bytes" Number;
    /// What each content filter found: its name, what came of it, score, names of what it found. And for whom
    /// a next hop has the message already (`kind = "forward"`)
    "filters" Texts;
    /// What became of the message: `stored`, `try-again-overload`, `try-again-local`, `try-again-no-space`,
    /// `refused`
    "outcome" Text;
    /// The client got the answer; if not, it will send the message again
    "told" Boolean;
    /// Where the sink stored it
    "place" Text;
    /// Milliseconds from MAIL to DATA or the first BDAT
    "envelope_ms" Number;
    /// Milliseconds from DATA or the first BDAT to the end of the mail data
    "data_ms" Number;
    /// Milliseconds from the end of the mail data to the sink's answer
    "stored_ms" Number;
    /// What was refused: `CONNECT`, the verb of a command, `COMMAND` where it has none, `MAIL-DATA`
    "step" Text;
    /// The reply that was sent; of the forwarder, that of the next hop, or how the connection ended
    "reply" Text;
    /// Why, in a word of the list below
    "reason" Text;
    /// So many more without a line
    "more" Number;
    /// In, or for, so many seconds
    "seconds" Number;
    /// Command lines
    "commands" Number;
    /// Messages answered 250
    "accepted" Number;
    /// Replies of 4yz to commands, to mail data and to the connection
    "refused_4yz" Number;
    /// Replies of 5yz to commands, to mail data and to the connection
    "refused_5yz" Number;
    /// Why the session ended, in a word of the list below
    "ended_by" Text;
    /// Milliseconds from the accept to the end of the connection; of a reload, those that reading took; of a
    /// delivery, from its first command to its last reply
    "took_ms" Number;
    /// Sessions without a command that we ended
    "silent_server" Number;
    /// Sessions without a command that the client ended
    "silent_client" Number;
    /// Sessions without a command whose connection broke
    "silent_lost" Number;
    /// Sessions of a trusted front or network with nothing but EHLO, NOOP and QUIT, or with nothing at all
    "health_checks" Number;
    /// Sessions that were refused for a reason of this machine, and for no other
    "put_off" Number;
    /// Sessions or refusals beyond the rate
    "over_rate" Number;
    /// Lines of mail, of errors and of the program
    "lines" Number;
    /// Lines of sessions and refusals
    "session_lines" Number;
    /// The notice, by its id
    "notice" Text;
    /// How many notices
    "notices" Number;
    /// Where the message goes: the next hops of its route
    "destination" Text;
    /// The server that takes mail from us
    "next_hop" Text;
    /// Why it cannot be reached, or was not begun
    "why" Text;
    /// What was asked for: `retry`, `hold`, `release`, `remove`, `suspend`, `resume`
    "operation" Text;
    /// Messages or next hops for which it was done
    "done" Number;
    /// Messages for which it was not done
    "failed" Number;
    /// Milliseconds since the message was received
    "age_ms" Number;
    /// Milliseconds of a delivery from when the message was received until its connection was asked for, or
    /// was free
    "queue_ms" Number;
    /// Milliseconds until a new connection took mail: name, connect, greeting, EHLO, TLS; only of the first
    /// message on it
    "connect_ms" Number;
    /// The directory of the spool
    "spool" Text;
    /// How many routes there are
    "routes" Number;
    /// How many deliveries wait from earlier
    "waiting" Number;
    /// How many parts of messages were given up
    "dead" Number;
    /// What is to be known
    "text" Text;
    /// How often it happened since the last such line
    "times" Number;
    /// What was tried
    "tried" Text;
    /// The file or directory
    "path" Text;
    /// The error of the system
    "error" Text;
    /// When the first of them came
    "since" Text;
    /// How many there were
    "count" Number;
    /// When the last of them came
    "last" Text;
    /// Address and port
    "address" Text;
    /// Numbers of cores
    "cpus" Numbers;
    /// The kind of the sink and its place
    "into" Text;
    /// What a 250 promises
    "promise" Text;
    /// Whose mail; what is waited for
    "for" Text;
    /// Counts what a reload made of the configuration; the first is 1
    "generation" Number;
    /// Who asked: `signal`, `command`, `files`
    "by" Text;
    /// How many listeners there are
    "listeners" Number;
    /// How many entries the file of recipients has, each counted once
    "listed" Number;
    /// The number of the user
    "user" Number;
    /// The version of Landlock
    "landlock" Number;
    /// System calls are restricted
    "seccomp" Boolean;
    /// Connections that are open
    "connections" Number;
    /// Messages that the sink has and that are not answered
    "away" Number;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_field_of_an_event_is_declared_once_and_every_declared_field_is_used() {
        for event in ALL {
            for name in event.fields.iter().filter(|name| **name != COUNTERS) {
                let count = FIELDS.iter().filter(|field| field.name == *name).count();
                assert_eq!(count, 1, "{name} of {}", event.name);
            }
            assert_eq!(ALL.iter().filter(|other| other.name == event.name).count(), 1, "{}", event.name);
        }
        for field in FIELDS {
            assert!(ALL.iter().any(|event| event.fields.contains(&field.name)), "{}", field.name);
        }
    }
}
