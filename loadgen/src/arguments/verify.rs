//! What `loadgen verify` compares.

use std::path::PathBuf;

use clap::Args;

/// Compares a ledger with what is stored.
#[derive(Debug, Args)]
#[command(after_help = VERDICT)]
pub struct VerifyArguments {
    /// What `loadgen --ledger FILE` wrote
    #[arg(long, value_name = "FILE")]
    pub ledger: PathBuf,

    /// Where it is stored.
    #[command(flatten)]
    pub store: StoreArguments,

    /// The name of the stream
    #[arg(long, value_name = "NAME", requires = "nats")]
    pub stream: Option<String>,

    /// Duplicates fail, too
    #[arg(long)]
    pub no_duplicates: bool,

    /// Results of checks that were forged (`loadgen --forged-results`) and are still there fail, too
    #[arg(long)]
    pub no_forged_results: bool,

    /// Compare what the receiver that calls itself ID found (Authentication-Results) with what signed
    /// messages tell; fails if a copy has other results, or none
    #[arg(long, value_name = "ID")]
    pub results: Option<String>,
}

/// At least one of these. Several are one store: each message has to be in one of them.
#[derive(Debug, Args)]
#[group(required = true, multiple = true)]
pub struct StoreArguments {
    /// The store is one maildir, or a folder with maildirs at any depth
    #[arg(long, value_name = "DIR")]
    pub maildir: Option<PathBuf>,

    /// The store is a spool of ringmx
    #[arg(long, value_name = "DIR")]
    pub spool: Option<PathBuf>,

    /// The store is a stream of NATS JetStream; a server of it is nats://USER:PASSWORD@HOST:PORT
    #[arg(long, value_name = "URL", requires = "stream")]
    pub nats: Option<String>,
}

const VERDICT: &str = "\
Exit code: 0 if every accepted message is stored whole for each recipient and nothing is stored that was refused or never \
finished; 1 if not; 2 if the ledger or the store cannot be read, the ledger has no message, or the verdict cannot be printed.";
