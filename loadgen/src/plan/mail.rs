//! What sessions say and send: the mail data of a run, and the scenarios that it has.

use std::time::SystemTime;

use super::usage::{UsageError, wrong};
use crate::arguments::load::LoadArguments;
use crate::corpus::{Corpus, Recipe};
use crate::proxy::Proxy;
use crate::scenario::Scenario;
use crate::scenario::act::{Act, Row};
use crate::scenario::commands::{Commands, forward_paths};
use crate::size::{SIZE_MAX, Size};

const SIZE_MAX_PLUS_1: u64 = SIZE_MAX + 1;

/// The mail data of a run; `samples` are sent instead of a text that is made.
pub fn corpus(arguments: &LoadArguments, samples: Option<&[Vec<u8>]>) -> Result<&'static Corpus, UsageError> {
    let LoadArguments { from, to, .. } = arguments;
    if !from.is_empty() {
        check_mailbox("--from", from)?;
    }
    check_mailbox("--to", to)?;
    check_mailbox("--unknown", &arguments.unknown)?;
    if let Size::Fixed(SIZE_MAX_PLUS_1..) | Size::LogNormal { median: SIZE_MAX_PLUS_1.., .. } = arguments.size
    {
        return wrong("--size takes at most 1GiB");
    }
    let is_huge = arguments.scenario.0.iter().any(|(row, _)| row.act == Act::Huge);
    let whole_group = arguments.pipelining > Some(1) && arguments.bdat.is_none();
    match (&arguments.sign, from.is_empty(), is_huge, whole_group) {
        (None, ..) | (Some(_), false, false, false) => {}
        (_, true, ..) => return wrong("--sign needs a reverse-path: --from must not be empty"),
        (_, _, true, _) => return wrong("--sign and the scenario huge: take another one and --size 25MiB"),
        (.., true) => return wrong("--sign: a --pipelining depth above 1 needs --bdat"),
    }
    let now = SystemTime::now();
    let since_epoch = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let eight_bit = samples.is_some_and(|samples| samples.iter().any(|text| !text.is_ascii()));
    let group = commands(arguments, eight_bit, to).group;
    let recipe = Recipe {
        // The header has a mailbox in From: even when the reverse-path is null.
        from: if from.is_empty() { "postmaster@loadgen.test" } else { from },
        to,
        size: arguments.size,
        seed: arguments.seed,
        samples,
        huge: is_huge,
        chunked: arguments.bdat.is_some(),
        sign: arguments.sign.as_ref().map(|mix| (mix, domains(arguments))),
        forged: arguments.forged_results.as_ref(),
        next_group: if whole_group { &group } else { b"" },
        // Until the year 2554.
        run: u64::try_from(since_epoch.as_nanos()).unwrap_or_default(),
        now,
    };
    let corpus = Corpus::new(&recipe).map_err(|too_small| {
        UsageError(format!("--size must be at least {}: the header takes that much", too_small.minimum))
    })?;
    Ok(Box::leak(Box::new(corpus)))
}

/// Domains that signed messages are from.
pub fn domains(arguments: &LoadArguments) -> usize {
    usize::try_from(arguments.sign_domains).unwrap_or(usize::MAX)
}

fn commands(arguments: &LoadArguments, eight_bit: bool, to: &str) -> Commands {
    let parameters = if eight_bit { " BODY=8BITMIME" } else { "" };
    Commands::new(&arguments.from, parameters, &forward_paths(to, arguments.recipients.get().into()))
}

/// A row of the table with all that its sessions say and send.
pub fn scenario(arguments: &LoadArguments, row: &'static Row, corpus: &'static Corpus) -> &'static Scenario {
    let to = if row.act == Act::Refused { &arguments.unknown } else { &arguments.to };
    // Those that stop within the mail data do it in the plain form.
    let plain = matches!(row.act, Act::Slowloris | Act::Abort | Act::Idle);
    Box::leak(Box::new(Scenario {
        row,
        messages_per_session: arguments
            .per_connection
            .filter(|_| row.act.sends())
            .or(row.messages_per_session),
        pipelining: arguments.pipelining.filter(|_| !plain),
        bdat: arguments
            .bdat
            .filter(|_| !plain)
            .map(|chunk| usize::try_from(chunk.as_u64()).unwrap_or(usize::MAX).max(1)),
        proxy: arguments.proxy.map(|version| Proxy { version, clients: arguments.proxy_clients }),
        tls: arguments.tls,
        commands: if row.act == Act::Refused {
            commands(arguments, corpus.is_8bit(), to).with_numbers(to)
        } else {
            commands(arguments, corpus.is_8bit(), to)
        },
        corpus,
    }))
}

/// A mailbox goes into commands and into the header as it is, so it must not be able to end a line or a path.
fn check_mailbox(argument: &str, mailbox: &str) -> Result<(), UsageError> {
    const BYTES_MAX: usize = 254;
    let plain = mailbox.bytes().all(|octet| octet.is_ascii_graphic() && !b"<>".contains(&octet));
    let whole = mailbox
        .rsplit_once('@')
        .is_some_and(|(local_part, domain)| !local_part.is_empty() && !domain.is_empty());
    if plain && whole && mailbox.len() <= BYTES_MAX {
        return Ok(());
    }
    wrong(format!("{argument} takes a mailbox such as somebody@example.test, not {mailbox:?}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn mailboxes_cannot_break_out_of_their_command() {
        for good in ["a@b.test", "\"q\"@x.test", "a+b@[127.0.0.1]"] {
            assert_eq!(check_mailbox("--to", good), Ok(()));
        }
        for bad in ["", "a", "@x", "a@", "a@b>\r\nQUIT", "a b@c.test", "a@b.test>", "ä@b.test"] {
            assert!(check_mailbox("--to", bad).is_err(), "{bad:?}");
        }
    }
}
