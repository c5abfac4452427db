//! The name servers that are asked: whether each answers, how soon, over TCP too, and whether it validates.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::thread;
use std::time::Duration;

use super::super::finding::{Finding, Severity};
use crate::dns::probe::{self, Reply, Way};

/// How long a server has for an answer, each way.
const WITHIN: Duration = Duration::from_secs(2);

/// Servers that are looked at; the resolver rarely comes to the later ones.
const SERVERS_MAX: usize = 4;

/// Slower than this, and clients wait for it.
const SLOW: Duration = Duration::from_millis(200);

/// What one server did.
struct Heard {
    server: SocketAddr,
    udp: io::Result<Reply>,
    tcp: io::Result<Reply>,
}

/// A finding for each server, and whether one of them answers. Where none does it is one finding for all.
pub(super) fn look_at(servers: &[SocketAddr], is_needed: bool) -> (Vec<Finding>, bool) {
    let heard = ask_all(servers);
    if heard.iter().any(|heard| answer(&heard.udp).is_ok()) {
        return (heard.iter().map(|heard| judge(heard, is_needed)).collect(), true);
    }
    let each = heard.iter().map(|heard| {
        let why = answer(&heard.udp).err().unwrap_or_default();
        format!("{} {why}", heard.server)
    });
    let value =
        format!("{}: what it says of this server was not looked at", each.collect::<Vec<_>>().join("; "));
    (vec![without_answers(value, is_needed)], false)
}

/// That it is not known who is to be asked.
pub(super) fn nobody(error: &io::Error, is_needed: bool) -> Finding {
    let value = format!("/etc/resolv.conf names nobody to ask ({error}): the DNS was not looked at");
    without_answers(value, is_needed)
}

/// That nobody could be asked, because this program cannot begin to.
pub(super) fn not_begun(error: &io::Error) -> Finding {
    Finding::new(
        Severity::Hint,
        format!("no lookup thread starts ({error}): what the DNS says of this server was not looked at"),
        "A bound on threads or open files of this program keeps it from that; the server has its own.",
    )
}

fn without_answers(value: String, is_needed: bool) -> Finding {
    let why = if is_needed {
        "Checks of clients and of their mail go on without answers: lists count nothing, nothing is authenticated."
    } else {
        "Nothing that is configured here asks the DNS; this program did, to compare."
    };
    Finding::new(severity(is_needed), value, why).cure(cure())
}

fn severity(is_needed: bool) -> Severity {
    if is_needed { Severity::Limits } else { Severity::Hint }
}

fn cure() -> &'static str {
    "# a resolver on this machine that validates, such as unbound, and `servers = [\"127.0.0.1\"]` in [dns]"
}

/// All at a time, each over UDP and TCP.
fn ask_all(servers: &[SocketAddr]) -> Vec<Heard> {
    thread::scope(|scope| {
        let asked = servers.iter().take(SERVERS_MAX).map(|server| {
            let ask = |way| scope.spawn(move || probe::ask(*server, way, WITHIN));
            (*server, ask(Way::Udp), ask(Way::Tcp))
        });
        // All of them are on their way before the first is waited for.
        let asked: Vec<_> = asked.collect();
        let heard = |(server, udp, tcp): (_, thread::ScopedJoinHandle<'_, _>, _)| {
            let end = |thread: thread::ScopedJoinHandle<'_, io::Result<Reply>>| {
                thread.join().unwrap_or_else(|_| Err(io::Error::other("asking it ended in a panic")))
            };
            Heard { server, udp: end(udp), tcp: end(tcp) }
        };
        asked.into_iter().map(heard).collect()
    })
}

/// The answer, or in words why it is none.
fn answer(heard: &io::Result<Reply>) -> Result<Reply, String> {
    match heard {
        Ok(reply) => match reply.code {
            // No such name is an answer, too.
            0 | 3 if reply.recurses => Ok(*reply),
            0 | 3 => Err("answers for its own zones only, and looks nothing up".to_owned()),
            2 => Err("fails (SERVFAIL): it does not reach other name servers".to_owned()),
            5 => Err("refuses to answer this machine (REFUSED)".to_owned()),
            code => Err(format!("answers with code {code}")),
        },
        Err(error) => Err(match error.kind() {
            ErrorKind::TimedOut | ErrorKind::WouldBlock => {
                format!("does not answer within {} s", WITHIN.as_secs())
            }
            ErrorKind::ConnectionRefused => "is not there (connection refused)".to_owned(),
            _ => format!("does not answer: {error}"),
        }),
    }
}

fn judge(heard: &Heard, is_needed: bool) -> Finding {
    let server = heard.server;
    let udp = match answer(&heard.udp) {
        Ok(reply) => reply,
        Err(why) => {
            let why_it_matters =
                "It is asked in turn with the others: each time there is a wait, or no answer.";
            return Finding::new(severity(is_needed), format!("{server} {why}"), why_it_matters).cure(cure());
        }
    };
    let took = milliseconds(udp.took);
    let tcp = match answer(&heard.tcp) {
        Ok(reply) => reply,
        Err(why) => {
            return Finding::new(
                severity(is_needed),
                format!("{server} answers in {took}, but over TCP it {why}"),
                "Long answers come over TCP only: keys and policies that do not fit into a packet are never seen.",
            )
            .cure(format!("# let TCP through to port {} of {}", server.port(), server.ip()));
        }
    };
    let times = format!("{server} answers in {took}, over TCP in {}", milliseconds(tcp.took));
    if !udp.is_authentic {
        let why = "Who can forge its answers can forge keys, policies and lists.";
        return Finding::new(Severity::Hint, format!("{times}, and does not validate (DNSSEC)"), why)
            .cure(cure());
    }
    let (severity, why) = if udp.took > SLOW {
        (
            Severity::Hint,
            "Clients that are checked wait for it: a resolver on this machine keeps answers near.",
        )
    } else {
        (Severity::Note, "Forged answers are refused, where a domain is signed.")
    };
    Finding::new(severity, format!("{times}, and validates (DNSSEC)"), why)
}

fn milliseconds(time: Duration) -> String {
    format!("{:.1} ms", time.as_secs_f64() * 1e3)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reply() -> Reply {
        Reply { took: Duration::from_millis(2), code: 0, recurses: true, is_authentic: true }
    }

    fn of(udp: io::Result<Reply>, tcp: io::Result<Reply>) -> (Severity, String) {
        let server = "192.0.2.53:53".parse().expect("an address");
        let finding = judge(&Heard { server, udp, tcp }, true);
        (finding.severity, finding.value)
    }

    #[test]
    fn each_way_of_not_answering_has_its_words() {
        let refused = || Err(ErrorKind::ConnectionRefused.into());
        for (udp, tcp, severity, words) in [
            (Ok(reply()), Ok(reply()), Severity::Note, "over TCP in 2.0 ms, and validates"),
            (Ok(Reply { is_authentic: false, ..reply() }), Ok(reply()), Severity::Hint, "does not validate"),
            (Ok(Reply { took: Duration::from_secs(1), ..reply() }), Ok(reply()), Severity::Hint, "1000.0 ms"),
            (Ok(Reply { code: 3, ..reply() }), Ok(reply()), Severity::Note, "and validates"),
            (Ok(Reply { code: 5, ..reply() }), Ok(reply()), Severity::Limits, "refuses"),
            (Ok(Reply { code: 2, ..reply() }), Ok(reply()), Severity::Limits, "SERVFAIL"),
            (Ok(Reply { code: 4, ..reply() }), Ok(reply()), Severity::Limits, "code 4"),
            (Ok(Reply { recurses: false, ..reply() }), Ok(reply()), Severity::Limits, "its own zones"),
            (Ok(reply()), refused(), Severity::Limits, "but over TCP it is not there"),
            (refused(), refused(), Severity::Limits, "192.0.2.53:53 is not there"),
            (Err(ErrorKind::TimedOut.into()), refused(), Severity::Limits, "does not answer within 2 s"),
        ] {
            let (told, value) = of(udp, tcp);
            assert!(told == severity && value.contains(words), "{told:?} {value}");
        }
    }

    #[test]
    fn where_nothing_asks_the_dns_its_silence_is_a_hint() {
        assert_eq!(nobody(&io::Error::other("x"), false).severity, Severity::Hint);
        assert_eq!(nobody(&io::Error::other("x"), true).severity, Severity::Limits);
    }
}
