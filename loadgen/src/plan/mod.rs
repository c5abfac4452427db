//! What a run is to do: arguments turned once into values that cannot be wrong.

mod hostile;
mod mail;
pub mod shares;
mod target;
mod tls;
pub mod usage;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

use crate::arguments::load::LoadArguments;
use crate::corpus::{Corpus, samples};
use crate::network::Network;
use crate::rate::Rate;
use crate::scenario::Scenario;
use crate::scenario::act::Act;
use crate::scenario::bots::Bots;
use crate::scenario::mix::Mix;
use crate::senders::{self, Shares};
use crate::tls::Tls;
use crate::units::counted;
use mail::{corpus, domains, scenario};
use shares::{Share, cpus, shares};
use target::address;
use tls::tls;
use usage::{UsageError, wrong};

/// Messages of a run for which neither a count nor a time was given.
const MESSAGES_DEFAULT: u64 = 10_000;

/// How long a run lasts at most unless `--duration` says otherwise.
const DURATION_DEFAULT: Duration = Duration::from_mins(10);

/// How long a run lasts that sends no mail.
const IDLE_DURATION_DEFAULT: Duration = Duration::from_secs(10);

/// Connections of a run.
const CONNECTIONS_MAX: usize = 50_000;

/// A run.
#[derive(Debug)]
pub struct Plan {
    /// The target as it was given.
    pub target: String,
    /// Where that is.
    pub address: SocketAddr,
    /// What sessions do, as it was asked for.
    pub mix: Mix,
    /// The bots, if its sessions are that.
    pub bots: Option<&'static Bots>,
    /// What sessions do, in the order of the mix.
    pub scenarios: Vec<&'static Scenario>,
    /// The scenario of each connection, as an index of `scenarios`.
    dealt: Vec<usize>,
    /// All mail data.
    pub corpus: &'static Corpus,
    /// What that is, in words.
    pub message: String,
    /// Of signed messages the part that has each result of a check, if the receiver is right.
    pub expected: Option<Shares>,
    /// Recipients of a message.
    pub recipients: usize,
    /// The open loop's rate. `None`: a closed loop.
    pub rate: Option<Rate>,
    /// Addresses to connect from.
    pub source: Option<Network>,
    /// TLS, if mail is sent under it.
    pub tls: Option<Tls>,
    /// Messages of the whole run. `None`: as many as the time allows.
    pub messages: Option<u64>,
    /// The open loop begins so long after the start.
    pub settle: Duration,
    /// After this time, and that, no message is begun.
    pub duration: Duration,
    /// Whether the run is meant to end at that time, even with messages left.
    pub by_time: bool,
    /// The longest wait for the server.
    pub timeout: Duration,
    /// The threads.
    pub threads: Vec<Share>,
    /// Whether it runs beside another one, which decides about the result.
    pub is_beside: bool,
    /// What runs beside it.
    pub beside: Option<Box<Beside>>,
}

/// A run beside another one.
#[derive(Debug)]
pub struct Beside {
    /// What it is to do.
    pub plan: Plan,
    /// How much earlier than the other one it begins.
    pub lead: Duration,
}

impl Plan {
    /// Checks the arguments; looks the target up.
    pub fn new(arguments: &LoadArguments) -> Result<Self, UsageError> {
        let plan = Self::of_class(arguments)?;
        let Some(beside) = hostile::beside(arguments)? else { return Ok(plan) };
        let beside = Self::of_class(&beside).map_err(|error| UsageError(format!("--beside: {}", error.0)))?;
        let beside = Beside { plan: Self { is_beside: true, ..beside }, lead: arguments.beside_lead };
        Ok(Self { beside: Some(Box::new(beside)), ..plan })
    }

    /// The plan of one class of sessions, with nothing beside it.
    fn of_class(arguments: &LoadArguments) -> Result<Self, UsageError> {
        let mix = &arguments.scenario;
        let sends = mix.0.iter().any(|(row, _)| row.act.sends());
        let messages = match (arguments.messages, arguments.duration) {
            _ if !sends => None,
            (None, None) => Some(MESSAGES_DEFAULT),
            (given, _) => given,
        };
        let duration_default = if sends { DURATION_DEFAULT } else { IDLE_DURATION_DEFAULT };
        if let (Some(rate), None) = (arguments.rate, arguments.duration)
            && rate.is_ramp()
        {
            return wrong("a ramp takes as long as --duration says, so give one");
        }
        let connections = arguments.connections;
        if !(1..=CONNECTIONS_MAX).contains(&connections) {
            return wrong(format!("--connections takes 1 to {CONNECTIONS_MAX}"));
        }
        let threads = shares(
            &cpus(arguments)?,
            // A connection that has no message to send is not made.
            usize::try_from(messages.unwrap_or(u64::MAX)).map_or(connections, |most| most.min(connections)),
            messages,
        );
        let dealt = mix.divide(threads.iter().map(|share| share.connections).sum());
        if dealt.len() < mix.0.len() {
            return wrong(format!("{} scenarios need at least as many connections", mix.0.len()));
        }
        let address = address(&arguments.target, arguments.i_own_this_host, arguments.timeout)?;
        let source = hostile::source(arguments, address.is_ipv4());
        check_source(arguments, source, address)?;
        let tls = tls(arguments, address.ip()).map_err(UsageError)?;
        let samples = arguments.corpus.as_deref().map(samples::read).transpose().map_err(UsageError)?;
        let corpus = corpus(arguments, samples.as_deref())?;
        let message = message(arguments, samples.as_deref(), corpus);
        Ok(Self {
            address,
            target: arguments.target.clone(),
            mix: mix.clone(),
            bots: hostile::bots(arguments)?,
            scenarios: mix.0.iter().map(|(row, _)| scenario(arguments, row, corpus)).collect(),
            dealt,
            corpus,
            message,
            expected: arguments.sign.as_ref().map(|mix| senders::shares(mix, domains(arguments))),
            recipients: arguments.recipients.get().into(),
            rate: arguments.rate,
            source,
            tls,
            messages,
            settle: arguments.settle.unwrap_or_default(),
            duration: arguments.duration.unwrap_or(duration_default),
            by_time: arguments.duration.is_some() || !sends,
            timeout: arguments.timeout,
            threads,
            is_beside: false,
            beside: None,
        })
    }

    /// What a connection does.
    pub fn scenario_of(&self, connection: usize) -> &'static Scenario {
        // Threads may differ by a connection, and then the last one has no place of its own.
        self.scenarios[self.dealt[connection % self.dealt.len()]]
    }

    /// Whether some sessions send mail.
    pub fn sends(&self) -> bool {
        self.scenarios.iter().any(|scenario| scenario.row.act.sends())
    }

    /// Whether command groups were asked for, and how many transactions at a time.
    pub fn pipelining(&self) -> Option<u16> {
        self.scenarios.iter().find_map(|scenario| scenario.pipelining)
    }

    /// Connections of all threads.
    pub fn connections(&self) -> usize {
        self.threads.iter().map(|share| share.connections).sum()
    }
}

/// An address to connect from is of the family of the target, and a loopback address unless
/// `--i-own-this-host` is given.
fn check_source(
    arguments: &LoadArguments,
    source: Option<Network>,
    address: SocketAddr,
) -> Result<(), UsageError> {
    if let Some(source) = source {
        if source.is_ipv4() != address.is_ipv4() {
            return wrong(format!("--source is of another family than {address}"));
        }
        if !source.is_loopback() && !arguments.i_own_this_host {
            return wrong("--source takes loopback addresses, unless --i-own-this-host says that you may");
        }
    }
    Ok(())
}

/// What is sent, in words.
fn message(arguments: &LoadArguments, samples: Option<&[Vec<u8>]>, corpus: &Corpus) -> String {
    let message = match samples {
        Some(samples) => format!(
            "{} of {}, {} octets on average",
            counted(samples.len() as u64, "message"),
            arguments.corpus.as_deref().unwrap_or(Path::new("")).display(),
            corpus.size_mean()
        ),
        None if arguments.size.varies() => {
            format!("{}, {} octets on average", arguments.size, corpus.size_mean())
        }
        None => arguments.size.to_string(),
    };
    let message = match &arguments.sign {
        Some(mix) => {
            format!("{message}, signed {mix}, from {}", counted(arguments.sign_domains.into(), "domain"))
        }
        None => message,
    };
    let message = match &arguments.forged_results {
        Some(forgery) => {
            format!("{message}, results of {} forged in {} %", forgery.authserv_id, forgery.percent)
        }
        None => message,
    };
    match (arguments.scenario.0.iter().any(|(row, _)| row.act == Act::Huge), arguments.scenario.0.len()) {
        (true, 1) => format!("{} octets", corpus.size_max()),
        (true, _) => format!("{message} (huge: {})", corpus.size_max()),
        (false, _) => message,
    }
}
