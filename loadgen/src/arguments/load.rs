//! What to send, where and how: the command line without a subcommand.

use std::num::{NonZeroU16, NonZeroU64};
use std::path::PathBuf;
use std::time::Duration;

use bytesize::ByteSize;
use clap::Args;

use super::times::{positive_time, time};
use crate::corpus::forged::Forgery;
use crate::network::Network;
use crate::proxy::ProxyVersion;
use crate::rate::Rate;
use crate::scenario::bots::KindMix;
use crate::scenario::mix::Mix;
use crate::senders::DOMAINS_MAX;
use crate::senders::kind::SignMix;
use crate::size::Size;
use crate::threshold::Threshold;
use crate::tls::mode::{Mode, Version};

/// Domains of signed mail.
pub const DOMAINS_DEFAULT: u32 = 10;

/// What to send, where and how.
#[derive(Debug, Clone, Args)]
pub struct LoadArguments {
    /// The receiver: a name or an address, and a port
    #[arg(value_name = "HOST:PORT")]
    pub target: String,

    /// Connections held open at a time, over all threads
    #[arg(short, long, value_name = "N", default_value_t = 50, help_heading = "Load")]
    pub connections: usize,

    /// Messages of the whole run [default: 10000, unless --duration is given]
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), help_heading = "Load")]
    pub messages: Option<u64>,

    /// Begin no message after this time; with --messages, whichever comes first [default: 10min, or 10s where
    /// no scenario sends mail]
    #[arg(short, long, value_name = "TIME", value_parser = positive_time, help_heading = "Load")]
    pub duration: Option<Duration>,

    /// Messages of a session, then QUIT and a new connection (1: a connection a message) [default: no limit]
    #[arg(long, value_name = "N", help_heading = "Load")]
    pub per_connection: Option<NonZeroU64>,

    /// Open loop: messages have intended times, at this rate (20000/s, or a ramp over --duration:
    /// 1000/s..20000/s)
    #[arg(short, long, value_name = "RATE", help_heading = "Load")]
    pub rate: Option<Rate>,

    /// Open loop: the first message is due so long after the start, when connections that are kept were
    /// greeted [default: at the start]
    #[arg(long, value_name = "TIME", value_parser = positive_time, requires = "rate", help_heading = "Load")]
    pub settle: Option<Duration>,

    /// What sessions do: a scenario, or several with weights that divide the connections
    /// (steady:8,churn:1,abort:1)
    #[arg(long, value_name = "NAME[:N],...", default_value = "steady", help_heading = "Load")]
    pub scenario: Mix,

    /// Send MAIL, RCPT and DATA in one write, where the server offers PIPELINING (RFC 2920); above 1, begin
    /// so many transactions before the first is answered (with DATA two at most: the next envelope rides
    /// behind the mail data)
    #[arg(short, long, value_name = "DEPTH", num_args = 0..=1, require_equals = true, default_missing_value = "1",
          value_parser = clap::value_parser!(u16).range(1..=1000), help_heading = "Load")]
    pub pipelining: Option<u16>,

    /// Send mail data with BDAT (RFC 3030), whole or in chunks of this size; the server must offer CHUNKING
    #[arg(long, value_name = "CHUNK", num_args = 0..=1, require_equals = true, default_missing_value = "1GiB", help_heading = "Load")]
    pub bdat: Option<ByteSize>,

    /// Octets of a message (header and text, without what transparency adds): a size, lognormal:MEDIAN or
    /// lognormal:MEDIAN:SIGMA, or profile (mail as an MX sees it)
    #[arg(short, long, value_name = "SIZE", default_value = "4KiB", help_heading = "Message")]
    pub size: Size,

    /// Send these messages instead: a folder of .eml files, or an mbox
    #[arg(long, value_name = "PATH", conflicts_with = "size", help_heading = "Message")]
    pub corpus: Option<PathBuf>,

    /// Seed of the text that is made
    #[arg(long, value_name = "N", default_value_t = 5321, help_heading = "Message")]
    pub seed: u64,

    /// Recipients of a message
    #[arg(long, value_name = "N", default_value_t = NonZeroU16::MIN, help_heading = "Message")]
    pub recipients: NonZeroU16,

    /// Reverse-path; "" is the null reverse-path
    #[arg(long, value_name = "MAILBOX", default_value = "sender@loadgen.test", help_heading = "Message")]
    pub from: String,

    /// Forward-path; of several recipients the second is local-part+2@domain, and so on
    #[arg(long, value_name = "MAILBOX", default_value = "recipient@example.test", help_heading = "Message")]
    pub to: String,

    /// Forward-path that the scenario refused expects to be refused, and that bots name; {} in it stands for
    /// a number that no other RCPT has
    #[arg(long, value_name = "MAILBOX", default_value = "unknown@refused.test", help_heading = "Message")]
    pub unknown: String,

    /// Sign messages (DKIM), in these ways with weights: rsa-2048, rsa-1024, ed25519, broken, none; their
    /// reverse-paths and authors are of --sign-domains [default: nothing is signed]
    #[arg(long, value_name = "KIND[:N],...", conflicts_with = "corpus", help_heading = "Authentication")]
    pub sign: Option<SignMix>,

    /// Domains that signed messages are from, the second half as often as the first, the third a third as
    /// often, and so on; `loadgen zone` says what the DNS has to know of them
    #[arg(long, value_name = "N", default_value_t = DOMAINS_DEFAULT, requires = "sign",
          value_parser = clap::value_parser!(u32).range(1..=DOMAINS_MAX.into()), help_heading = "Authentication")]
    pub sign_domains: u32,

    /// Of a hundred messages so many [default: 10] bear results of checks (RFC 8601) that claim to be those
    /// of a receiver that calls itself ID
    #[arg(long, value_name = "ID[:PERCENT]", help_heading = "Authentication")]
    pub forged_results: Option<Forgery>,

    /// Begin every connection with a PROXY header, as a load balancer does
    #[arg(long, value_name = "v1|v2", help_heading = "Addresses")]
    pub proxy: Option<ProxyVersion>,

    /// Client addresses that PROXY headers tell, one a connection, far from one another
    #[arg(long, value_name = "NETWORK", default_value = "198.18.0.0/15", help_heading = "Addresses")]
    pub proxy_clients: Network,

    /// Connect from these addresses, one a connection in turn (of bots as the seed draws them): 127.0.0.2, or
    /// 127.0.0.0/8 [default: the system chooses; for bots 127.64.0.0/10]
    #[arg(long, value_name = "NETWORK", help_heading = "Addresses")]
    pub source: Option<Network>,

    /// Send all mail under TLS: behind STARTTLS (RFC 3207), or from the first octet of the connection
    #[arg(long, value_name = "starttls|implicit", help_heading = "TLS")]
    pub tls: Option<Mode>,

    /// The server's name, for SNI and for --tls-verify [default: the target's host, if it is a name]
    #[arg(long, value_name = "NAME", requires = "tls", help_heading = "TLS")]
    pub tls_name: Option<String>,

    /// Verify the server's certificate against the roots in this file (PEM); without it nothing of it is
    /// checked
    #[arg(long, value_name = "FILE", requires = "tls", help_heading = "TLS")]
    pub tls_verify: Option<PathBuf>,

    /// Resume sessions, where the server lets us; without it every handshake is a full one
    #[arg(long, requires = "tls", help_heading = "TLS")]
    pub tls_resume: bool,

    /// Offer this version only [default: both]
    #[arg(long, value_name = "1.2|1.3", requires = "tls", help_heading = "TLS")]
    pub tls_version: Option<Version>,

    /// Threads [default: one a core of --cpus, or 1]
    #[arg(short, long, value_name = "N", help_heading = "This machine")]
    pub threads: Option<NonZeroU16>,

    /// Cores to pin the threads to, one a thread [default: the last ones, from the end]
    #[arg(long, value_name = "CPU,CPU", value_delimiter = ',', help_heading = "This machine")]
    pub cpus: Vec<usize>,

    /// The longest wait for a connection, a reply, or the server to take what is sent
    #[arg(long, value_name = "TIME", default_value = "60s", value_parser = positive_time, help_heading = "This machine")]
    pub timeout: Duration,

    /// Write the report as JSON, too
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub json: Option<PathBuf>,

    /// Write the report as one HTML page, too
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub html: Option<PathBuf>,

    /// Write the latency of transactions (of sessions, if no mail was accepted) as HdrHistogram percentiles,
    /// in milliseconds
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub hgrm: Option<PathBuf>,

    /// Fail, with exit code 3, if this holds: 'p99>5ms', 'accepted.p99.9>1s', 'rate<20000', 'handshakes<900',
    /// 'resumed<95', 'errors>0', 'unsent>0'; may be repeated
    #[arg(long, value_name = "THRESHOLD", help_heading = "Report")]
    pub fail_if: Vec<Threshold>,

    /// Append to this file what was sent and how it was answered, for `loadgen verify`
    #[arg(long, value_name = "FILE", help_heading = "Report")]
    pub ledger: Option<PathBuf>,

    /// Allow a target that is not a loopback address
    #[arg(long, help_heading = "This machine")]
    pub i_own_this_host: bool,

    /// What sessions of the scenario bots do, with weights: refused, early-talker, bad-ehlo, no-quit,
    /// rcpt-flood, bad-tls, slowloris, never-reads, silent [default: all of them, most of all refused]
    #[arg(long, value_name = "KIND[:N],...", help_heading = "Bots")]
    pub bots: Option<KindMix>,

    /// The longest session of a bot
    #[arg(long, value_name = "TIME", default_value = "10s", value_parser = positive_time, help_heading = "Bots")]
    pub bot_time: Duration,

    /// What a second class of sessions does meanwhile: scenarios as for --scenario. It has connections,
    /// threads, counts and latencies of its own, and only the first class decides whether the run has a
    /// result
    #[arg(long, value_name = "NAME[:N],...", help_heading = "Beside it")]
    pub beside: Option<Mix>,

    /// Its rate: messages, or sessions of bots [default: a closed loop]
    #[arg(long, value_name = "RATE", requires = "beside", help_heading = "Beside it")]
    pub beside_rate: Option<Rate>,

    /// Its connections, held open at a time
    #[arg(long, value_name = "N", default_value_t = 1000, requires = "beside", help_heading = "Beside it")]
    pub beside_connections: usize,

    /// Its messages, or sessions of bots, of the whole run [default: no limit]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..), requires = "beside",
          help_heading = "Beside it")]
    pub beside_messages: Option<u64>,

    /// Its addresses to connect from [default: the system chooses; for bots 127.64.0.0/10]
    #[arg(long, value_name = "NETWORK", requires = "beside", help_heading = "Beside it")]
    pub beside_source: Option<Network>,

    /// Its client addresses in PROXY headers [default: those of --proxy-clients]
    #[arg(long, value_name = "NETWORK", requires = "beside", help_heading = "Beside it")]
    pub beside_proxy_clients: Option<Network>,

    /// Its threads [default: one a core of --beside-cpus, or 1]
    #[arg(long, value_name = "N", requires = "beside", help_heading = "Beside it")]
    pub beside_threads: Option<NonZeroU16>,

    /// Cores of its threads [default: those of the first class, to which its threads give way]
    #[arg(
        long,
        value_name = "CPU,CPU",
        value_delimiter = ',',
        requires = "beside",
        help_heading = "Beside it"
    )]
    pub beside_cpus: Vec<usize>,

    /// How much earlier than the first class it begins
    #[arg(long, value_name = "TIME", default_value = "1s", value_parser = time, requires = "beside",
          help_heading = "Beside it")]
    pub beside_lead: Duration,
}
