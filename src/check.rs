//! What can be known of a configuration before mail comes: the file itself, the files that it names, the
//! store, the memory.
//!
//! `ringmx check` prints it and `ringmx serve` starts by it: both ask here, so that neither knows more than
//! the other. Changes nothing on the disk: no directory is made, no file is left, no lock is taken.

mod checked;
mod service_user;
mod state;

use std::net::SocketAddr;
use std::path::Path;
use std::time::Duration;

pub use self::checked::Checked;
use self::checked::sort;

use crate::config::filter::read_password;
use crate::config::forward::{HopPlace, maildir_sink};
use crate::config::{
    self, Config, Filter, FilterFailure, FilterKind, Lists, Misnamed, Places, Problem, RecipientMap, Warning,
};
use crate::dns::lookup;
use crate::mail::address_table::Key;
#[cfg(feature = "nats")]
use crate::nats;
use crate::sink::{Remark, file_limit};
use crate::smtp::policy::RecipientEntry;
use crate::tls::certificate::CertificateFile;
use crate::tls::context as certificates;
use crate::{doctor, recipient_map, sink};

/// A map is on this machine or near it.
const MAP_REACHED_WITHIN: Duration = Duration::from_secs(1);

/// Checks a configuration file, or without one what is served without one.
pub fn check(file: Option<&Path>) -> Checked {
    check_for(file, None, None)
}

/// The same for a server that runs. What is wrong with a store that it takes only when it is started again is
/// no problem yet. `key`: that of its table of recipients, so that the same recipients make the same table.
pub fn check_again(file: Option<&Path>, running: &Config, key: Option<Key>) -> Checked {
    check_for(file, Some(running), key)
}

fn check_for(file: Option<&Path>, running: Option<&Config>, key: Option<Key>) -> Checked {
    let config::Reading { config, log_format, mut problems, mut warnings, places, lists } = match file {
        Some(file) => config::read_with(file, misnamed, key),
        None => config::Reading::of_embedded_default(),
    };
    if let Some(config) = &config {
        check_certificates(config, &places, &mut problems, &mut warnings);
        let is_taken = running.is_none_or(|running| config.has_sink_of(running));
        check_store(config, is_taken, &places, &mut problems, &mut warnings);
        check_postmaster(config, &places, &mut warnings);
        check_maildirs(config, &places, &mut warnings);
        // A running server gave up connecting to others than the one that it asks.
        if running.is_none()
            && let Some(text) = map_note(config)
        {
            warnings.push(Warning(places.finding("recipients", text)));
        }
        if running.is_none() {
            check_filters(config, &places, &mut problems, &mut warnings);
            problems.extend(cluster_problem(config).map(|text| Problem(places.finding("sink.kind", text))));
        }
        if let Some(text) = file_limit::message_note(config, file_limit::bytes_max()) {
            warnings.push(Warning(places.finding("limits.message_size_max", text)));
        }
        if let Some(text) = root_note(config, rustix::process::geteuid().is_root()) {
            warnings.push(Warning(places.finding("listener.address", text)));
        }
        if let Some(text) = public_resolvers_note(config, running.is_some()) {
            warnings.push(Warning(places.finding("dns.servers", text)));
        }
        // A running server has read them, and may not do so any more.
        if running.is_none()
            && let Some(text) = name_servers_problem(config)
        {
            problems.push(Problem(places.finding("dns.servers", text)));
        }
        // Another user, which root becomes, is asked for itself.
        let is_another = rustix::process::geteuid().is_root() && config.run_as.user.is_some();
        if let Some(text) = state::note(config).filter(|_| !is_another) {
            warnings.push(Warning(places.finding("early.state", text)));
        }
        if let Some(text) = doctor::memory_warning(config) {
            warnings.push(Warning(places.finding("shards", text)));
        }
    }
    sort(&places, &mut problems, &mut warnings);
    let config = config.filter(|_| problems.is_empty());
    Checked { config, lists, places, log_format, problems, warnings }
}

/// Checks the files of recipients and aliases of a configuration that is in use: whom they name, and what is
/// probably not meant. `key`: that of the table in use.
pub fn lists(config: &Config, key: Option<Key>) -> Result<(Lists, Vec<Warning>), Vec<Problem>> {
    let places = Places::default();
    let (lists, mut warnings) = config::read_lists(config, &places, misnamed, key)?;
    check_postmaster(config, &places, &mut warnings);
    Ok((lists, warnings))
}

/// Why there is nobody to ask, where something asks the DNS.
fn name_servers_problem(config: &Config) -> Option<String> {
    let of_system = config.asks_dns() && config.dns.servers.is_none();
    of_system.then(lookup::name_servers_of_system)?.err().map(|error| no_name_servers(&error))
}

/// Resolvers that serve everybody: Google, Cloudflare, Quad9, OpenDNS.
const PUBLIC_RESOLVERS: [&str; 16] = [
    "8.8.8.8",
    "8.8.4.4",
    "2001:4860:4860::8888",
    "2001:4860:4860::8844",
    "1.1.1.1",
    "1.0.0.1",
    "2606:4700:4700::1111",
    "2606:4700:4700::1001",
    "9.9.9.9",
    "149.112.112.112",
    "2620:fe::fe",
    "2620:fe::9",
    "208.67.222.222",
    "208.67.220.220",
    "2620:119:35::35",
    "2620:119:53::53",
];

/// Lists in the DNS are asked through somebody whom they do not answer.
fn public_resolvers_note(config: &Config, is_running: bool) -> Option<String> {
    if config.front.rules.lists.is_empty() {
        return None;
    }
    let servers = match &config.dns.servers {
        Some(servers) => servers.clone(),
        None if is_running => return None,
        None => lookup::name_servers_of_system().ok()?,
    };
    public_among(&servers)
}

fn public_among(servers: &[SocketAddr]) -> Option<String> {
    let is_public = |server: &&SocketAddr| {
        let address = server.ip().to_canonical();
        PUBLIC_RESOLVERS.iter().any(|public| public.parse() == Ok(address))
    };
    let public: Vec<String> =
        servers.iter().filter(is_public).map(|server| server.ip().to_string()).collect();
    (!public.is_empty()).then(|| {
        format!(
            "{} serves everybody, and most lists in the DNS give such resolvers no answer or a wrong one, so that [[dnsbl]] counts \
             nothing; run a resolver of your own and name it here, such as servers = [\"127.0.0.1:53\"]",
            public.join(", ")
        )
    })
}

/// That the system's name servers are not known, and what to do.
pub fn no_name_servers(error: &std::io::Error) -> String {
    format!("/etc/resolv.conf names nobody to ask: {error}; write `servers` in [dns]")
}

/// Who of those that are asked about recipients is not there. Nothing is asked. They may be started after
/// this, so that is no problem.
fn map_note(config: &Config) -> Option<String> {
    let map = config.recipient_map.as_ref()?;
    let unreached = recipient_map::unreached(map, MAP_REACHED_WITHIN);
    let (first, error) = unreached.first()?;
    let more = if unreached.len() > 1 { format!(" and {} more", unreached.len() - 1) } else { String::new() };
    Some(match map {
        RecipientMap::Socketmap(_) => format!(
            "nobody serves {map} now ({error}): RCPT is answered `451 4.3.0` until somebody does; postmaster and aliases are taken all the same"
        ),
        RecipientMap::NextHops(_) => format!(
            "{first}{more} is not there now ({error}), and is to be asked about recipients: RCPT is answered `451 4.3.0` until it is, unless \
             another next hop of the same [[forward]] answers"
        ),
    })
}

/// What filters need, and who of them is not there. They may be started after this, so that is no problem.
fn check_filters(config: &Config, places: &Places, problems: &mut Vec<Problem>, warnings: &mut Vec<Warning>) {
    for (index, filter) in config.filters.iter().enumerate() {
        let (before, _) = config.filters.split_at(index);
        if let FilterKind::Rspamd(rspamd) = &filter.kind
            && let Some(Err(text)) = rspamd.password_file.as_deref().map(read_password)
        {
            let has_one = |other: &&Filter| matches!(&other.kind, FilterKind::Rspamd(one) if one.password_file.is_some());
            let nth = before.iter().filter(has_one).count();
            problems.push(Problem(places.finding_in("filter.password_file", nth, text)));
        }
        let key = filter.kind.place_key();
        let nth = before.iter().filter(|other| other.kind.place_key() == key).count();
        let place = filter.kind.place().to_owned();
        let unreached =
            recipient_map::unreached_places(vec![(place, filter.kind.address())], MAP_REACHED_WITHIN);
        let consequence = match filter.on_failure {
            FilterFailure::Tempfail => "clients are told to come again (451) until somebody does",
            FilterFailure::Accept => "mail is taken unchecked until somebody does",
        };
        warnings.extend(unreached.into_iter().map(|(place, error)| {
            let name = &filter.name;
            let text =
                format!("nobody answers for the filter {name} at {place} now ({error}): {consequence}");
            Warning(places.finding_in(&format!("filter.{key}"), nth, text))
        }));
    }
}

/// What is wrong with a file that the cluster needs. Nobody is asked: `ringmx doctor` does that.
#[cfg(feature = "nats")]
fn cluster_problem(config: &Config) -> Option<String> {
    nats::Plan::new(config.nats.as_ref()?, &config.hostname).err()
}

#[cfg(not(feature = "nats"))]
fn cluster_problem(_config: &Config) -> Option<String> {
    None
}

/// Nothing needs root but a port below 1024. A server that listens on loopback only, for instance in a
/// container, has no strangers as clients.
fn root_note(config: &Config, is_root: bool) -> Option<String> {
    let is_public = |listener: &config::Listener| !listener.address.ip().to_canonical().is_loopback();
    let text = "ringmx runs as root: whoever finds a hole in it has the whole machine; name a user for it to become (`user` in \
                [run_as]), or start it as one (systemd: User=ringmx, AmbientCapabilities=CAP_NET_BIND_SERVICE for ports below \
                1024)";
    let stays = config.run_as.user.is_none();
    (is_root && stays && config.listeners.iter().any(is_public)).then(|| text.to_owned())
}

fn check_certificates(
    config: &Config,
    places: &Places,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Warning>,
) {
    for found in certificates::examine(&config.tls, &config.hostname) {
        let key = match found.file {
            CertificateFile::Chain => "chain",
            CertificateFile::Key => "key",
        };
        let finding = places.certificate_finding(found.certificate, key, found.text);
        if found.is_error {
            problems.push(Problem(finding));
        } else {
            warnings.push(Warning(finding));
        }
    }
}

fn check_store(
    config: &Config,
    is_taken: bool,
    places: &Places,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Warning>,
) {
    // Where the path is missing, that is a problem already.
    let has_path = config.sink.facts().directory().is_some_and(|path| !path.as_os_str().is_empty());
    if has_path {
        let found = sink::examine(&config.sink);
        let finding = |Remark { key, text }: Remark| places.finding(&format!("sink.{key}"), text);
        let errors = found.errors.into_iter().map(finding);
        if is_taken {
            problems.extend(errors.map(Problem));
        } else {
            warnings.extend(errors.map(Warning));
        }
        warnings.extend(found.warnings.into_iter().map(|remark| Warning(finding(remark))));
    }
}

/// Maildirs that the forwarder could not open. It goes on to try, so that is no problem.
fn check_maildirs(config: &Config, places: &Places, warnings: &mut Vec<Warning>) {
    for hop in config.forward.routes.iter().flat_map(|route| &route.to) {
        let HopPlace::Maildir(path) = &hop.place else { continue };
        let found = sink::examine(&maildir_sink(path));
        for Remark { text, .. } in found.errors.into_iter().chain(found.warnings) {
            warnings.push(Warning(places.finding("forward.to", format!("{hop}: {text}"))));
        }
    }
}

/// Recipients that the operator names and the store cannot: nobody of them gets mail.
fn misnamed(config: &Config) -> Misnamed {
    let Some(why) = sink::unnameable(&config.sink, config.local_part_case_sensitive) else {
        return Box::new(|_| None);
    };
    Box::new(move |entry| {
        let name = match entry {
            RecipientEntry::Mailbox { local_part, domain } => why(local_part, domain),
            // Whom it names, none can be shorter.
            RecipientEntry::CatchAll(domain) => why("a", domain),
        };
        name.map(|name| refused(&name))
    })
}

fn check_postmaster(config: &Config, places: &Places, warnings: &mut Vec<Warning>) {
    let Some(why) = sink::unnameable(&config.sink, config.local_part_case_sensitive) else { return };
    if let Some((local_part, domain)) = config.postmaster.rsplit_once('@')
        && let Some(name) = why(local_part, domain)
    {
        warnings.push(Warning(places.finding("postmaster", refused(&name))));
    }
}

fn refused(name: &str) -> String {
    format!(
        "the directory that `template` gives this recipient has a name that cannot be: {name}; RCPT is refused with \
         `550 5.1.3`; change `template`, or the address"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resolvers_that_serve_everybody_are_told_of_in_any_spelling() {
        let servers = |texts: &[&str]| -> Vec<SocketAddr> {
            texts.iter().map(|text| text.parse().expect("an address")).collect()
        };
        assert_eq!(
            public_among(&servers(&["127.0.0.1:53", "[::1]:53", "192.0.2.1:5353", "8.8.8.9:53"])),
            None
        );
        for public in ["8.8.8.8:53", "[::ffff:1.1.1.1]:53", "[2620:fe:0:0::fe]:53", "9.9.9.9:5353"] {
            let text = public_among(&servers(&["127.0.0.1:53", public]));
            assert!(text.is_some_and(|text| !text.contains("127.0.0.1 ")), "{public}");
        }
        assert!(PUBLIC_RESOLVERS.iter().all(|public| public.parse::<std::net::IpAddr>().is_ok()));
    }

    #[test]
    fn root_is_told_where_strangers_can_connect() {
        let mut config = Config::embedded_default();
        assert_eq!(root_note(&config, true), None, "loopback");
        for address in ["[::]:25", "0.0.0.0:2525", "192.0.2.1:25", "[::ffff:192.0.2.1]:25"] {
            config.listeners[0].address = address.parse().expect("an address");
            assert!(root_note(&config, true).is_some_and(|text| text.contains("User=")), "{address}");
            assert_eq!(root_note(&config, false), None, "{address}");
        }
        config.run_as.user = Some("ringmx".to_owned());
        assert_eq!(root_note(&config, true), None, "it will not stay root");
        config.run_as.user = None;
        config.listeners[0].address = "[::ffff:127.0.0.1]:25".parse().expect("an address");
        assert_eq!(root_note(&config, true), None, "mapped loopback");
    }
}
