//! Whose zone `loadgen zone` writes.

use clap::Args;

use super::load::DOMAINS_DEFAULT;
use crate::senders::DOMAINS_MAX;
use crate::senders::kind::SignMix;

/// Prints the zone that a load with the same options needs.
#[derive(Debug, Args)]
#[command(after_help = USE)]
pub struct ZoneArguments {
    /// How messages are signed: the same as for the load
    #[arg(long, value_name = "KIND[:N],...")]
    pub sign: SignMix,

    /// Domains that they are from: as many as for the load
    #[arg(long, value_name = "N", default_value_t = DOMAINS_DEFAULT,
          value_parser = clap::value_parser!(u32).range(1..=DOMAINS_MAX.into()))]
    pub sign_domains: u32,
}

const USE: &str = "\
The zone is `test.`, in the form of RFC 1035 section 5. Keys and names are always the same, so a name server can have it before \
the load begins. Its last lines, which are comments, say which part of the messages has which result if a receiver is right.

Exit code: 0; 1 if the zone cannot be printed; 2 if the arguments are wrong.";
