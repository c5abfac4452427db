//! TLS as a client: its configuration, one for each load thread.
//!
//! [`Channel`](channel::Channel) is one connection's end; [`Handshakes`](handshakes::Handshakes) are what a
//! thread counts; [`mode`] is what the command line asks for.

pub mod channel;
pub mod handshakes;
pub mod mode;
mod sessions;

use std::sync::Arc;

use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::ServerName;
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use mode::{Mode, Version};
use sessions::Sessions;
use trusting::Trusting;

/// TLS of a run.
#[derive(Debug)]
pub struct Tls {
    /// When it begins.
    pub mode: Mode,
    /// Whom we speak to. An address is not sent as SNI (RFC 6066 §3).
    pub name: ServerName<'static>,
    /// Whether the certificate is verified.
    pub verified: bool,
    /// Whether sessions are resumed.
    pub resumption: bool,
    /// The only version that is offered, if there is one.
    pub version: Option<Version>,
    config: ClientConfig,
}

impl Tls {
    /// With `roots` the server's certificate is verified against them. The error is for the user.
    pub fn new(
        mode: Mode,
        name: ServerName<'static>,
        roots: Option<RootCertStore>,
        resumption: bool,
        version: Option<Version>,
    ) -> Result<Self, String> {
        let versions: &[&SupportedProtocolVersion] = match version {
            None => &[&version::TLS13, &version::TLS12],
            Some(Version::Tls12) => &[&version::TLS12],
            Some(Version::Tls13) => &[&version::TLS13],
        };
        let provider = ringmx::tls::context::provider();
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let verified = roots.is_some();
        let config = match roots {
            Some(roots) => config.with_root_certificates(roots),
            None => config.dangerous().with_custom_certificate_verifier(trusting(&provider)),
        };
        Ok(Self { mode, name, verified, resumption, version, config: config.with_no_client_auth() })
    }

    /// What the connections of one thread begin TLS with. Sessions to resume are the thread's own.
    pub fn config_of_thread(&self) -> Arc<ClientConfig> {
        let mut config = self.config.clone();
        config.resumption = if self.resumption {
            Resumption::store(Arc::new(Sessions::default()))
        } else {
            Resumption::disabled()
        };
        Arc::new(config)
    }

    /// As it was asked for, in words.
    pub fn describe(&self) -> String {
        let version = match self.version {
            None => "",
            Some(Version::Tls12) => ", TLS 1.2 only",
            Some(Version::Tls13) => ", TLS 1.3 only",
        };
        let verified = if self.verified { "verified" } else { "not verified" };
        let resumption = if self.resumption { "on" } else { "off" };
        format!("{}{version}, certificate {verified}, resumption {resumption}", self.mode.name())
    }
}

fn trusting(provider: &CryptoProvider) -> Arc<Trusting> {
    Arc::new(Trusting(provider.signature_verification_algorithms.supported_schemes()))
}
