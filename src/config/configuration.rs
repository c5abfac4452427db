//! Everything that `ringmx serve` is told, put together from the tables of the file, with the rules between
//! tables.
//!
//! Every function gives a usable value whatever the file says; whether there were problems is the document's
//! to tell.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::admin::{self, Admin};
use super::auth;
use super::client_limits::{self, ClientLimits};
use super::control;
use super::cut_through::{self, CutThrough};
use super::dns::{self, Dns};
use super::document::Document;
use super::filter::{self, Filter};
use super::fixed::FixedKeys;
use super::forward::{self, Forward, HopPlace};
use super::front::{self, Front};
use super::identity::{self, RecipientSource};
use super::listener::{self, Listener};
use super::log::{self, Log};
use super::recipient_source::{NextHops, RecipientMap};
use super::run_as::{self, RunAs};
use super::section::Section;
use super::session_limits;
use super::shards::{self, Shard};
use super::sink::{self, Nats, NatsServer, Sink};
use super::tls::{self, CertificateLines, Tls};
use crate::auth::rules::AuthRules;
use crate::front::clients;
use crate::limits::{REFUSAL_LINES_MAX, STREAM_ENVELOPE_BYTES_MAX};
use crate::mail::domain::DomainPattern;
use crate::mail::tag::Delimiters;
use crate::smtp::extension::{Extension, ExtensionSet};
use crate::smtp::policy::{Policy, RecipientRules};
use crate::smtp::settings::{Limits, Settings};

/// Everything that `ringmx serve` is told.
#[derive(Debug, Clone)]
pub struct Config {
    /// The name in the greeting, in EHLO replies and after `by` in Received:.
    pub hostname: String,
    /// Recipient domains that are accepted; empty means any, which is allowed on loopback listeners only.
    pub domains: Vec<DomainPattern>,
    /// Domains that take no mail; they need not be among those that are accepted, and come first.
    pub domains_without_mail: Vec<DomainPattern>,
    /// The file of recipients; without it, and without a map, every local-part of an accepted domain is
    /// taken.
    pub recipients: Option<PathBuf>,
    /// Who else is asked about recipients. There is no file then.
    pub recipient_map: Option<RecipientMap>,
    /// The map that the server was started with: there are threads and a way to it, whether or not a reload
    /// leaves anybody who asks. None in a configuration that no server runs with.
    pub(super) map_of_start: Option<RecipientMap>,
    /// The file of aliases.
    pub aliases: Option<PathBuf>,
    /// Where mail for the bare `<postmaster>` goes, as `local-part@domain`.
    pub postmaster: String,
    /// Whether local-parts of recipients are compared octet for octet.
    pub local_part_case_sensitive: bool,
    /// What sets tags of recipients' local-parts off.
    pub recipient_delimiter: Delimiters,
    /// Octets that a recipient's local-part may not hold, all of them ASCII punctuation.
    pub local_part_deny: String,
    /// Whether a recipient's local-part may begin with a dot.
    pub local_part_leading_dot: bool,
    /// Where to listen; at least one.
    pub listeners: Vec<Listener>,
    /// Where mail goes.
    pub sink: Sink,
    /// Whom a message is handed to before its client is answered; none where it always goes to the sink
    /// first.
    pub cut_through: Option<CutThrough>,
    /// The cluster that has messages before the sink does; none where it has none.
    pub nats: Option<Nats>,
    /// One per CPU core, in the order of the cores; at least one.
    pub shards: Vec<Shard>,
    /// Bounds of sessions and transactions.
    pub limits: Limits,
    /// How often one client may do what; none where that is not limited.
    pub client_limits: Option<ClientLimits>,
    /// Networks of clients that are counted at a time.
    pub client_places: usize,
    /// Versions and certificates.
    pub tls: Tls,
    /// Who is asked of the DNS.
    pub dns: Dns,
    /// Where mail goes on to from the spool.
    pub forward: Forward,
    /// Who vouches for a message; none where that is not asked.
    pub auth: Option<AuthRules>,
    /// Who is asked about messages, in this order.
    pub filters: Vec<Filter>,
    /// What is logged and how.
    pub log: Log,
    /// As whom, and with what given up.
    pub run_as: RunAs,
    /// What is done before mail is taken.
    pub front: Front,
    /// Where it tells how it does; none where it is not asked.
    pub admin: Option<Admin>,
    /// Where the forwarder tells how it does; none where it is not asked.
    pub forward_admin: Option<Admin>,
    /// The path of the control socket, if there is one.
    pub control: Option<PathBuf>,
    /// The values of all keys that need a restart.
    pub(super) fixed: FixedKeys,
}

impl Config {
    /// What the sessions of a listener are told.
    pub fn session_settings(&self, listener: &Listener, policy: Arc<dyn Policy + Send + Sync>) -> Settings {
        listener.session_settings(Settings {
            extensions: self.extensions_of(listener),
            local_part_case_sensitive: self.local_part_case_sensitive,
            refusals_noted_max: if self.log.refusals { REFUSAL_LINES_MAX } else { 0 },
            envelope_json_bytes_max: self.has_stream().then_some(STREAM_ENVELOPE_BYTES_MAX),
            ..Settings::of(self.hostname.clone(), self.limits.clone(), policy)
        })
    }

    /// Whether some mail goes to a stream, at once or from the spool.
    fn has_stream(&self) -> bool {
        let mut hops = self.forward.routes.iter().flat_map(|route| &route.to);
        self.nats.is_some() || hops.any(|hop| matches!(hop.place, HopPlace::Stream(..)))
    }

    /// What a listener offers. A promise is made only where the consumer of the store keeps it.
    pub fn extensions_of(&self, listener: &Listener) -> ExtensionSet {
        let kept = [
            (Extension::Dsn, self.sink.dsn),
            (Extension::RequireTls, self.sink.requiretls),
            (Extension::BinaryMime, self.sink.facts().keeps_octets()),
        ];
        kept.into_iter().filter(|(_, kept)| !kept).fold(listener.extensions, |all, (one, _)| all.without(one))
    }

    /// Whether anything may ask the DNS. Where nothing does there are no threads and no memory for it, and
    /// the sandbox lets nobody connect.
    pub fn asks_dns(&self) -> bool {
        self.dns.threads.is_some()
            || self.front.rules.asks_dns()
            || self.auth.as_ref().is_some_and(AuthRules::ask_dns)
    }

    /// Threads that ask the DNS; 0 where nothing does.
    pub fn lookup_threads(&self) -> usize {
        if self.asks_dns() { self.dns.threads_for(self.shards.len()) } else { 0 }
    }

    /// How many programs have messages before the sink does: filters, all next hops together, and a cluster.
    pub fn stations(&self) -> usize {
        self.filters.len() + usize::from(self.cut_through.is_some()) + usize::from(self.nats.is_some())
    }

    /// Connections at a time to all next hops that have messages before the sink does.
    pub fn cut_through_connections_max(&self) -> usize {
        let routes = self.cut_through.iter().flatten();
        routes.map(|route| route.to.len() * route.connections_max).sum()
    }

    /// Connections at a time to all filters, to those next hops, and to the cluster.
    pub fn station_connections_max(&self) -> usize {
        let of_filters = self.filters.iter().map(|filter| filter.connections_max);
        let of_cluster = usize::from(self.nats.is_some());
        self.cut_through_connections_max() + of_filters.sum::<usize>() + of_cluster
    }

    /// How a stream that mail goes on to is reached: as the sink says it, where it is that of the sink.
    pub fn cluster_of(&self, server: &NatsServer, stream: &str) -> Nats {
        let own = self.nats.as_ref().filter(|own| own.has(server, stream));
        own.cloned().unwrap_or_else(|| Nats::of(server, stream))
    }

    /// What one client may have.
    pub fn limits_of_clients(&self) -> clients::Limits {
        let connections_max = u32::try_from(self.limits.connections_per_client_max).unwrap_or(u32::MAX);
        clients::Limits {
            connections_max,
            rates: self.client_limits.map(|limits| limits.rates),
            only_warn: self.client_limits.is_some_and(|limits| limits.only_warn),
        }
    }

    /// Where what is known of clients is kept across restarts.
    pub fn state(&self) -> Option<&Path> {
        self.front.state.as_deref()
    }

    /// By what the table of recipients is made.
    pub fn recipient_rules(&self) -> RecipientRules<'_> {
        RecipientRules {
            domains: &self.domains,
            domains_without_mail: &self.domains_without_mail,
            hostname: &self.hostname,
            postmaster: &self.postmaster,
            local_part_case_sensitive: self.local_part_case_sensitive,
            delimiters: self.recipient_delimiter,
            local_part_deny: &self.local_part_deny,
            local_part_leading_dot: self.local_part_leading_dot,
            asks_store: self.sink.facts().has_mailboxes(),
            asks_map: self.recipient_map.is_some(),
        }
    }
}

/// Reads the whole file, and gives the lines of its certificates as well. The result is good only if the
/// document has no problems afterwards.
pub(super) fn read(document: &Document<'_>) -> (Config, Vec<CertificateLines>) {
    let mut root = Section::root(document);
    // The sink goes by them, and has done so; and threads that ask next hops.
    root.reloads_but(&["local_part_case_sensitive", "recipient_delimiter", "recipients_down"]);
    let identity = identity::read(&mut root);
    let (tls, certificate_lines) = tls::read(&mut root);
    let listeners = listener::read(&mut root, &identity, tls.is_possible());
    let (sink, nats) = sink::read(&mut root, &identity);
    identity::postmaster_rule(&root, &identity);
    if let Some(text) = recipients_rule(identity.recipients.is_some(), &identity.domains, &listeners, &sink)
        && !root.given("recipients")
    {
        root.warn("recipients", text.to_owned());
    }
    let (limits, clients_max) =
        session_limits::read(root.table("limits", "Bounds of sessions and transactions."));
    let shards = shards::read(&mut root, limits.message_size_max);
    let dns = dns::read(&mut root);
    let client_limits = client_limits::read(&mut root);
    let auth = auth::read(&mut root, &identity.hostname);
    let front = front::read(&mut root, auth.as_ref());
    let keeps_clients = client_limits.is_some() || front.state.is_some();
    let client_places = clients_max.unwrap_or_else(|| client_limits::places_default(&shards, keeps_clients));
    let filters = filter::read(&mut root, sink.cut_through, front.rules.reverse_dns);
    let log = log::read(root.table("log", "What is logged, to standard error, and how."));
    let run_as =
        run_as::read(root.table("run_as", "As whom ringmx serves, and what it gives up before that."));
    let admin = admin::read(&mut root, &listeners);
    let control = control::read(&mut root);
    let forward = forward::read(&mut root, &identity, (&sink, nats.as_ref()), auth.as_ref());
    let forward_admin = admin::read_of_forwarder(&mut root, &listeners, admin.as_ref());
    let (recipients, recipient_map) = match identity.recipients {
        Some(RecipientSource::File(path)) => (Some(path), None),
        Some(RecipientSource::Map(map)) => (None, Some(RecipientMap::Socketmap(map))),
        Some(RecipientSource::NextHops) => match NextHops::of(&forward, identity.takes_unasked) {
            Ok(hops) => (None, Some(RecipientMap::NextHops(hops))),
            Err(text) => {
                root.problem("recipients", text);
                (None, None)
            }
        },
        None => (None, None),
    };
    let cut_through = sink.cut_through.then(|| cut_through::of(&forward));
    if cut_through.as_ref().is_some_and(|routes| routes.iter().all(|route| route.to.is_empty())) {
        let text = "a message can be handed on before its client is answered only to a next hop whose address is written in `to` of \
                    [[forward]], and there is none: write one as \"smtp://10.0.0.5:25\" or \"lmtp://unix:PATH\", or kind = \"spool\"";
        root.problem("sink", text.to_owned());
    }
    root.finish();
    let config = Config {
        hostname: identity.hostname,
        domains: identity.domains,
        domains_without_mail: identity.domains_without_mail,
        recipients,
        recipient_map,
        map_of_start: None,
        aliases: identity.aliases,
        postmaster: identity.postmaster,
        local_part_case_sensitive: identity.local_part_case_sensitive,
        recipient_delimiter: identity.recipient_delimiter,
        local_part_deny: identity.local_part_deny,
        local_part_leading_dot: identity.local_part_leading_dot,
        listeners,
        sink,
        cut_through,
        nats,
        shards,
        limits,
        client_limits,
        client_places,
        tls,
        dns,
        front,
        forward,
        auth,
        filters,
        log,
        run_as,
        admin,
        forward_admin,
        control,
        fixed: FixedKeys(document.take_fixed()),
    };
    (config, certificate_lines)
}

/// Without a file of recipients every local-part is taken. On a public listener the operator should know
/// that.
pub(super) fn recipients_rule(
    has_recipients: bool,
    domains: &[DomainPattern],
    listeners: &[Listener],
    sink: &Sink,
) -> Option<&'static str> {
    let takes_from_others =
        |listener: &Listener| listener.gate.refuse.is_none() && listener.is_reached_by_others();
    // Without `create` such a maildir is a table itself, and has a warning of its own.
    let is_table = sink.facts().has_mailboxes() && !sink.facts().creates_mailboxes();
    let takes_all = !has_recipients && !domains.is_empty() && !is_table;
    (takes_all && listeners.iter().any(takes_from_others)).then_some(
        "there is no file of recipients, so every local-part of `domains` is taken; name one to have others refused \
         (550 5.1.1)",
    )
}
