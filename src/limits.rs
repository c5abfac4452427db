//! The bounds of the program that are no configuration keys, with their RFC section or their reason. One that
//! only a single file knows of stands there.
//!
//! A bound that an operator may want to move is a configuration key (`config`), whose range ends at
//! constants of this file. Const asserts at the end relate bounds that depend on each other.

use std::time::Duration;

/// Octets of a command line with its CRLF when nothing else is configured. RFC 5321 §4.5.3.1.4 asks for 512;
/// the extensions offered add to it (SIZE 26, 8BITMIME 17, SMTPUTF8 10 and a longer path, DSN 100 and 500),
/// and real senders go beyond.
pub const LINE_BYTES_DEFAULT: usize = 2048;

/// The least that may be configured as the length of a command line (RFC 5321 §4.5.3.1.4).
pub const LINE_BYTES_MIN: usize = 512;

/// The most that may be configured as the length of a command line: it bounds the carry of a session.
pub const LINE_BYTES_MAX: usize = 16 * 1024;

/// A command line over its length is consumed up to this many octets to find its end; past it the session is
/// closed.
pub const LINE_SWALLOW_BYTES_MAX: usize = 64 * 1024;

/// Octets of a path with its angle brackets (RFC 5321 §4.5.3.1.3).
pub const PATH_BYTES_MAX: usize = 256;

/// Octets of a domain (RFC 5321 §4.5.3.1.2).
pub const DOMAIN_BYTES_MAX: usize = 255;

/// Octets of a reply line with its CRLF (RFC 5321 §4.5.3.1.5).
pub const REPLY_LINE_BYTES_MAX: usize = 512;

/// Unsent replies a connection may hold before no more of its input is parsed.
pub const REPLY_BYTES_MAX: usize = 4096;

/// The most that one command appends to the replies: a full EHLO reply.
pub const REPLY_BYTES_PER_COMMAND_MAX: usize = 2048;

/// Octets of mail data that are looked at to see whether it begins with a header: one line of an mbox file
/// and the name of a field, each within the limit of a line (RFC 5322 §2.1.1).
pub const BEGINNING_BYTES_MAX: usize = 2 * 998;

/// Octets of the EHLO name that go into trace information and the log.
pub const EHLO_NAME_BYTES_MAX: usize = 255;

/// Octets of a PROXY protocol header of version 1 with its CRLF (proxy-protocol.txt §2.1).
pub const PROXY_V1_BYTES_MAX: usize = 107;

/// Octets of a PROXY protocol header of version 2 with its TLVs; far more than any front sends.
pub const PROXY_V2_BYTES_MAX: usize = 4096;

/// The fewest recipients a transaction may be limited to (RFC 5321 §4.5.3.1.8).
pub const RECIPIENTS_MIN: usize = 100;

/// Mailboxes that one alias may stand for.
pub const ALIAS_TARGETS_MAX: usize = 100;

/// Octets that all copies of one message may have, where each recipient has a maildir: SIZE times recipients.
/// Past it further recipients get `452 4.5.3`, and the sender tries those with another copy of the message. A
/// disk writes as much in about a second.
pub const COPIES_BYTES_MAX: u64 = 256 * 1024 * 1024;

/// The size of a message without SIZE, for that budget: more than most have.
pub const SIZE_NOMINAL: u64 = 100 * 1024;

/// A message that turns out larger than its SIZE may come to this multiple of the budget for its copies; then
/// `552 5.3.4`. SIZE is an estimate (RFC 1870 §6.1).
pub const COPIES_OVERRUN: u64 = 2;

/// Too much mail data is read on to its end up to this multiple of the limit, then 421.
pub const OVERSIZE_FACTOR: u64 = 2;

/// Mail data must keep up this many octets a second once the grace is used up.
pub const DATA_RATE_MIN: u64 = 500;

/// A message may take this long from DATA, or its first BDAT, to its end; each [`MESSAGE_RATE_MIN`] octets
/// raise that by a second. A client that keeps up [`DATA_RATE_MIN`] only may hold memory, a file and a place
/// for this time and not for days.
pub const MESSAGE_TIME_MIN: Duration = Duration::from_mins(30);

/// Octets a second that a message must keep up once [`MESSAGE_TIME_MIN`] is over: 50 MiB have 3.4 hours, over
/// the slowest lines that carry such messages.
pub const MESSAGE_RATE_MIN: u64 = 5000;

/// A chunk under so many octets that is not the last brings a transaction no further than an idle command
/// does.
pub const CHUNK_BYTES_LITTLE: u64 = 512;

/// RCPT past the limit of recipients counts as a command without progress only after so many since the last
/// accepted message. A client that does not know the limit sends all its recipients at once and the rest
/// again in the next transaction (RFC 5321 §4.5.3.1.10); Postfix allows as many
/// (smtpd_recipient_overshoot_limit).
pub const EXCESS_RECIPIENTS_FREE: u32 = 1000;

/// The most that may be configured as the time from the end of mail data, or from when filters and next hops
/// are done with it, to the answer of the sink, and the default; the client waits 10 minutes for all of them
/// (RFC 5321 §4.5.3.2.6).
pub const SINK_ANSWER_MAX: Duration = Duration::from_secs(230);

/// A message waits this long for a place in a full channel to its sink, then `451 4.3.2`.
pub const HANDOFF_WAIT_MAX: Duration = Duration::from_secs(30);

/// After the last reply the client has this long to read it and close.
pub const DRAIN_WAIT_MAX: Duration = Duration::from_secs(2);

/// A cancelled operation that has not ended by then is cancelled once more.
pub const CANCEL_WAIT_MAX: Duration = Duration::from_secs(1);

/// Octets read and dropped while a connection drains before it is closed.
pub const DRAIN_BYTES_MAX: u64 = 256 * 1024;

/// Sessions under way at shutdown have this long for their transaction.
pub const SHUTDOWN_WAIT_MAX: Duration = Duration::from_secs(10);

/// At shutdown shards have this long: transactions under way have theirs, then as long again what was handed
/// to the sink.
pub const SHARDS_END_MAX: Duration = Duration::from_secs(2 * SHUTDOWN_WAIT_MAX.as_secs() + 1);

/// After the shards, sink workers and the spiller have this long; a disk that does not answer has had
/// the time of the shards before that.
pub const WORKERS_END_MAX: Duration = Duration::from_secs(5);

/// At the end standard error has this long to take what was logged.
pub const LOG_END_MAX: Duration = Duration::from_secs(2);

/// Lines a second in the log that one shard writes of sessions without an accepted message, when nothing else
/// is configured.
pub const LOG_SESSION_LINES_DEFAULT: u32 = 100;

/// Octets of a `Message-ID:` in the log.
pub const MESSAGE_ID_BYTES_MAX: usize = 250;

/// So far into the mail data a `Message-ID:` is looked for.
pub const MESSAGE_ID_WITHIN: usize = 16 * 1024;

/// Refusals of a session that have a line each in the log.
pub const REFUSAL_LINES_MAX: u8 = 20;

/// Octets of an address in such a line: those of a path (RFC 5321 §4.5.3.1.3).
pub const REFUSAL_ADDRESS_BYTES_MAX: usize = 256;

/// Recipients of a refused message in such a line.
pub const REFUSAL_RECIPIENTS_MAX: usize = 4;

/// The last that a process says is waited for so long.
pub const LAST_WORDS_MAX: Duration = Duration::from_millis(500);

/// A start that was asked to stop has this long to find out, between two of its steps; nobody was greeted
/// yet.
pub const START_END_MAX: Duration = Duration::from_secs(3);

/// The process ends this long after it was asked to, wherever it stands. The unit's `TimeoutStopSec` is
/// longer.
pub const PROCESS_END_MAX: Duration = Duration::from_secs(29);

/// A forwarder that `serve --with-forward` has started ends this long after its receiver began to stop.
pub const MINDED_END_MAX: Duration = Duration::from_secs(24);

/// One that has not done so is killed by its minder after this time.
pub const MINDED_KILL_AFTER: Duration = Duration::from_secs(25);

/// And after this time its receiver waits for neither.
pub const MINDER_END_MAX: Duration = Duration::from_secs(26);

/// Connections over the cap of a shard that are being told so at a time; further ones are closed without a
/// word.
pub const REFUSED_CONNECTIONS_MAX: usize = 256;

/// Connections that wait in the kernel to be accepted, for each listening socket; the kernel cuts it to
/// net.core.somaxconn.
pub const LISTEN_BACKLOG: i32 = 4096;

/// Memory of sent replies that a shard keeps for the next ones; each is at most twice `REPLY_BYTES_MAX`
/// octets.
pub const SPARE_REPLIES_MAX: usize = 1024;

/// Octets of one owned block: mail data copied out of receive buffers.
pub const BLOCK_BYTES: usize = 16 * 1024;

/// Octets of the first owned block of a message: whoever sends a few octets of mail data and stops takes no
/// more.
pub const FIRST_BLOCK_BYTES: usize = 512;

/// Pieces of one message in one receive buffer; beyond that the buffer is compacted in place, so that a body
/// of nothing but dots costs no more memory than its octets.
pub const PIECES_PER_BUFFER_MAX: usize = 16;

/// Receive buffers that the mail data of one connection may hold before its octets are copied into owned
/// blocks.
pub const HELD_BUFFERS_MAX: usize = 32;

/// The most memory that the mail data of one message may take before it is written to a spill file. Messages
/// of ordinary size never get there while memory is plentiful.
pub const SPILL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Less mail data than this is not worth a write.
pub const SPILL_BYTES_MIN: usize = 4 * 1024;

/// Parts of messages of one shard that may be on their way to spill files at a time; beyond that they stay in
/// memory.
pub const SPILLS_AWAY_MAX: usize = 4096;

/// One client may hold one part in so many of all spill files and of their octets (`spill_files_max`, and the
/// lesser of `spill_size_max` and what the disk can take).
pub const SPILL_CLIENT_PARTS: u64 = 4;

/// When spill files are scarce, who has not sent enough for a further part in this time may be made to give
/// way.
pub const SPILL_IDLE_MAX: Duration = Duration::from_secs(10);

/// Who sends faster than so many octets a second never gives way: a large message is over in minutes then.
pub const SPILL_RATE_FAIR: u64 = 64 * 1024;

/// A shard makes one message give way in this time.
pub const SPILL_RELIEF_WAIT: Duration = Duration::from_secs(1);

/// A message waits this long for its spill file to be written, then it is given up with `451 4.3.2`.
pub const SPILL_WAIT_MAX: Duration = Duration::from_mins(2);

/// Recipients of one shard that the store is asked about at a time; past it RCPT is answered `451`.
pub const INQUIRIES_AWAY_MAX: usize = 4096;

/// Recipients of one shard that a map is asked about at a time, where there are several routes an equal part
/// of it for each; past it RCPT is answered `451`.
pub const MAP_INQUIRIES_AWAY_MAX: usize = 1024;

/// Threads that ask a map of recipients, or the next hops of the only route, each one question at a time.
pub const MAP_THREADS: usize = 4;

/// The same for one route of several.
pub const MAP_THREADS_A_ROUTE: usize = 2;

/// Routes whose next hops are asked by threads of their own; with more than these some share theirs.
pub const MAP_GROUPS_MAX: usize = 8;

/// RCPT waits this long for a map of recipients, then `451`.
pub const MAP_WAIT_MAX: Duration = Duration::from_secs(5);

/// Recipients that a shard remembers the map to have.
pub const MAP_LISTED_MAX: usize = 64 * 1024;

/// Recipients that a shard remembers the map not to have.
pub const MAP_UNLISTED_MAX: usize = 16 * 1024;

/// Recipients that a shard remembers the map not to have answered for.
pub const MAP_LATE_MAX: usize = 1024;

/// A session waits this long for an answer that is not its client's. For the store's, whether it has a place
/// for a recipient, RCPT is answered `451` then; any other ends the session with 421.
pub const INQUIRY_WAIT_MAX: Duration = Duration::from_secs(30);

/// Octets that the check of one message holds and that are not counted: a usual one has two signatures.
pub const CHECK_BYTES_FREE: usize = 3 * 1024;

/// Octets that the results of a message take, as a field and as JSON; its check, which ends with them, takes
/// less for nothing.
pub const RESULTS_BYTES_MAX: usize = 8 * 1024;

const _: () = assert!(CHECK_BYTES_FREE <= RESULTS_BYTES_MAX);

/// Octets that the checks of messages of one shard may hold beyond [`CHECK_BYTES_FREE`] each; past it a
/// message with more signatures gets `451 4.3.2`.
pub const CHECKS_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Octets that keys of signatures which one shard has read take in memory.
pub const KEYS_BYTES_MAX: usize = 1024 * 1024;

/// Octets that the envelopes of one shard may take beyond [`ENVELOPE_BYTES_FREE`] each; past it further
/// recipients get `452 4.5.3`.
pub const ENVELOPES_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Octets of an envelope that are not counted, and that it keeps for the next transaction: those of usual
/// ones.
pub const ENVELOPE_BYTES_FREE: usize = 4 * 1024;

/// Work on one connection before the others of its shard have their turn, in units of about a nanosecond
/// (`shard/work.rs`): 4 MiB of plain mail data, or some 10 KiB of the kind that costs most.
pub const WORK_SLICE: usize = 32 * 1024;

/// Work of one turn of a shard, in the same units, after which connections with more than a little to be
/// parsed wait for the next one. So little, because a good client beside a flood waits for a turn at each of
/// its four round trips.
pub const WORK_PER_TURN_MAX: usize = 64 * 1024;

/// Received octets that the connections of one shard may hold outside of receive buffers and messages; past
/// it `421`.
pub const HELD_BYTES_MAX: usize = 32 * 1024 * 1024;

/// Steps of TLS handshakes in one turn of a shard: a full one takes a tenth of a millisecond, with RSA 2048 a
/// third (`docs/experiments.md`), which all other sessions wait.
pub const HANDSHAKES_PER_TURN_MAX: usize = 1;

/// Octets of a handshake that wait for a turn with time for it; past an eighth of them no more is received.
/// Who has sent them all by then is cut off.
pub const HANDSHAKE_BYTES_WAITING_MAX: usize = 128 * 1024;

/// Octets of a client's handshake, and of the certificates it shows, that are not counted in
/// [`HELD_BYTES_MAX`]: those of usual ones.
pub const HANDSHAKE_BYTES_FREE: usize = 4 * 1024;

/// Certificates that a client may show. Chains have three or four; the library keeps each in memory of its
/// own, so thousands of one octet would take many times what they are sent in.
pub const CLIENT_CERTIFICATES_MAX: usize = 32;

/// TLS 1.2 sessions that can be resumed without a ticket, over all shards.
pub const TLS_SESSIONS_MAX: usize = 32 * 1024;

/// Octets of such a session. One with more, because the client showed certificates, is not kept: its next
/// handshake is a full one.
pub const TLS_SESSION_BYTES_MAX: usize = 1024;

/// Octets that wait in the kernel to be sent to a client, for each connection; the kernel takes twice the
/// memory for them. A client that does not read keeps no more; with the kernel's own tuning it would be up to
/// 4 MiB.
pub const SEND_BUFFER_BYTES: usize = 32 * 1024;

/// Received buffers that wait, unparsed, on one connection before its receive is cancelled.
pub const UNREAD_BUFFERS_MAX: usize = 2;

/// Receive buffers in one pool: buffer ids are 16 bits, and the kernel's buffer rings end at this.
pub const BUFFERS_MAX: usize = 32 * 1024;

/// Orders on their way to one shard.
pub const ORDERS_MAX: usize = 16;

/// Octets that tables of recipients may have that only sessions of before a reload use, or twice those of the
/// new table, whichever is more: past it a reload is refused.
pub const OLD_TABLES_BYTES_MAX: usize = 16 * 1024 * 1024;

/// Orders that wait for a shard that stands still; with as many a reload is refused.
pub const ORDERS_WAITING_MAX: usize = 64;

/// After a reload its answer waits this long for shards to take it over; those that have not are named.
pub const RELOAD_TAKE_WAIT: Duration = Duration::from_secs(1);

/// Octets of what a client says of an envelope for a stream, as JSON. JetStream lets a message have 64 KiB of
/// headers; the rest is for what checks and filters find, and for the names of fields. A hundred recipients
/// with usual addresses take a fifth of it.
pub const STREAM_ENVELOPE_BYTES_MAX: usize = 46 * 1024;

/// Messages of one shard that are at stations at a time: at content filters, and at the server that mail goes
/// on to.
pub const STATION_MESSAGES_MAX: usize = 1024;

/// Messages on their way between one shard and its sink worker.
pub const HANDOFF_MESSAGES_MAX: usize = 4096;

/// Messages a sink worker takes in one batch.
pub const BATCH_MESSAGES_MAX: usize = 256;

/// Octets that a batch has a sink write before the worker stops adding messages: mail data, times its copies.
/// A message that has more is stored alone.
pub const BATCH_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Files that a batch has a sink make before the worker stops adding messages. A message that has more is
/// stored alone.
pub const BATCH_FILES_MAX: usize = 1024;

/// Messages to be stored alone that a worker holds while it lets others go first; at that many it takes no
/// more of any kind.
pub const COSTLY_MESSAGES_MAX: usize = 256;

/// Octets read back from spill files that a sink worker takes in one batch before it stops adding messages.
pub const BATCH_LOADED_BYTES_MAX: u64 = 8 * 1024 * 1024;

/// A message that moved to a spill file stays there, and the spool keeps the file, when it has more octets
/// than this or than half a segment, whichever is less. Below, one write with others costs less than a file
/// and its two syncs.
pub const SPOOL_INLINE_BYTES_MAX: u64 = 1024 * 1024;

/// Maildirs that a worker remembers as durable; beyond that it forgets all and syncs them again.
pub const MAILDIRS_KNOWN_MAX: usize = 64 * 1024;

/// Directories whose sync failed that a worker remembers one by one; beyond that all are in doubt.
pub const MAILDIRS_DOUBTED_MAX: usize = 16 * 1024;

/// Maildirs that are remembered as in trouble, or as those whose trouble was told.
pub const MAILDIRS_TROUBLED_MAX: usize = 4096;

/// Segments of a spool are written with zeros in pieces of this: the sync of a batch that comes in between
/// waits behind one piece in the disk's queue, not behind a whole segment.
pub const ZEROS_BYTES: usize = 1024 * 1024;

/// Mailboxes that a shard remembers as ready.
pub const MAILBOXES_READY_MAX: usize = 4096;

/// Octets that are copied into aligned memory for one write past the page cache.
pub const STAGING_BYTES: usize = 8 * 1024 * 1024;

/// The oldest kernel whose io_uring does what the shards need; whether it does is tried out at start.
pub const KERNEL_LEAST: &str = "6.1";

/// Envelopes that the table of greylisting remembers, of all shards: 8 MiB.
pub const GREYLIST_PLACES: usize = 1 << 20;

/// The oldest kernel on which `batch_wait` can be set.
pub const KERNEL_OF_BATCH_WAIT: &str = "6.12";

const _: () = assert!(LINE_BYTES_MIN >= PATH_BYTES_MAX + "RCPT TO:\r\n".len());
const _: () = assert!(LINE_BYTES_DEFAULT >= LINE_BYTES_MIN && LINE_BYTES_DEFAULT <= LINE_BYTES_MAX);
const _: () = assert!(LINE_SWALLOW_BYTES_MAX > LINE_BYTES_MAX);
const _: () = assert!(
    REPLY_BYTES_PER_COMMAND_MAX >= REPLY_LINE_BYTES_MAX && REPLY_BYTES_MAX >= 2 * REPLY_BYTES_PER_COMMAND_MAX
);
const _: () = assert!(OVERSIZE_FACTOR >= 2);
const _: () = assert!(FIRST_BLOCK_BYTES < BLOCK_BYTES);
const _: () = assert!(SEND_BUFFER_BYTES >= 2 * REPLY_BYTES_MAX);
// The recipients that RFC 5321 §4.5.3.1.8 asks for can each have a message of ordinary size, and the default
// number one without SIZE.
const _: () = assert!(COPIES_BYTES_MAX / RECIPIENTS_MIN as u64 > 2 * 1024 * 1024);
const _: () = assert!(COPIES_BYTES_MAX / 1000 > SIZE_NOMINAL && COPIES_OVERRUN >= 2);
const _: () = assert!(MESSAGE_RATE_MIN > DATA_RATE_MIN);
const _: () = assert!(WORK_SLICE < WORK_PER_TURN_MAX);
const _: () = assert!(HELD_BYTES_MAX > 8 * HANDSHAKE_BYTES_WAITING_MAX);
const _: () = assert!(SPILL_BYTES_MIN >= BEGINNING_BYTES_MAX && SPILL_BYTES_MIN < SPILL_BYTES_MAX);
const _: () = assert!(
    PROCESS_END_MAX.as_secs() > SHARDS_END_MAX.as_secs() + WORKERS_END_MAX.as_secs() + LOG_END_MAX.as_secs()
);
// One is told after the other.
const _: () =
    assert!(MINDED_END_MAX.as_millis() + LAST_WORDS_MAX.as_millis() < MINDED_KILL_AFTER.as_millis());
const _: () =
    assert!(MINDED_KILL_AFTER.as_millis() + LAST_WORDS_MAX.as_millis() < MINDER_END_MAX.as_millis());
// It waits while shards and workers end, and then for what is left of this.
const _: () = assert!(MINDER_END_MAX.as_secs() <= SHARDS_END_MAX.as_secs() + WORKERS_END_MAX.as_secs());
const _: () = assert!(START_END_MAX.as_secs() > LOG_END_MAX.as_secs());
const _: () = assert!(BATCH_MESSAGES_MAX <= HANDOFF_MESSAGES_MAX);
