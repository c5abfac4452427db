//! What all connections of a listener share: versions, certificates, resumption.

use std::sync::Arc;

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::server::ServerSessionMemoryCache;
use rustls::{ServerConfig, SupportedProtocolVersion, version};

use super::certificate::Certificates;
use super::client_certificate::TakeAny;
use crate::config::TlsVersion;

/// Sessions that can be resumed, over all shards.
const SESSIONS_MAX: usize = 32 * 1024;

/// How many tickets TLS 1.3 connections get where they are on: rustls' own default.
const TICKETS: usize = 2;

/// What differs from listener to listener.
#[derive(Debug, Clone, Copy)]
pub struct Options {
    /// The lowest version.
    pub minimum: TlsVersion,
    /// Whether TLS 1.3 sessions can be resumed. outlook.com's sender has failed on servers that send tickets.
    pub tickets: bool,
    /// TLS from the first octet: then a client that offers protocols (ALPN) must offer `smtp`. Behind STARTTLS the protocol is
    /// known, and what is offered is passed over.
    pub implicit: bool,
}

/// The cryptography that is used: aws-lc-rs, X25519MLKEM768 preferred.
pub fn provider() -> Arc<CryptoProvider> {
    let mut provider = aws_lc_rs::default_provider();
    // Stable: the groups behind it keep rustls' order.
    provider.kx_groups.sort_by_key(|group| group.name() != rustls::NamedGroup::X25519MLKEM768);
    Arc::new(provider)
}

/// The state of resumption, shared by listeners that may resume each other's sessions.
pub fn sessions() -> Arc<ServerSessionMemoryCache> {
    ServerSessionMemoryCache::new(SESSIONS_MAX)
}

/// The configuration of a listener.
pub fn server_config(
    options: Options,
    provider: &Arc<CryptoProvider>,
    certificates: &Arc<Certificates>,
    sessions: &Arc<ServerSessionMemoryCache>,
) -> Result<Arc<ServerConfig>, rustls::Error> {
    let versions: &[&SupportedProtocolVersion] = match options.minimum {
        TlsVersion::Tls12 => &[&version::TLS13, &version::TLS12],
        TlsVersion::Tls13 => &[&version::TLS13],
    };
    let mut config = ServerConfig::builder_with_provider(Arc::clone(provider))
        .with_protocol_versions(versions)?
        .with_client_cert_verifier(Arc::new(TakeAny(Arc::clone(provider))))
        .with_cert_resolver(Arc::clone(certificates) as _);
    config.session_storage = Arc::clone(sessions) as _;
    config.send_tls13_tickets = if options.tickets { TICKETS } else { 0 };
    if options.implicit {
        config.alpn_protocols = vec![b"smtp".to_vec()];
    }
    Ok(Arc::new(config))
}
