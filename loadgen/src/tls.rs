//! TLS as a client: what the command line asks for, and the configuration made of it, one for each load thread.
//!
//! [`Channel`](channel::Channel) is one connection's end; [`Handshakes`](handshakes::Handshakes) are what a thread counts.

pub mod channel;
pub mod handshakes;
mod sessions;
mod trusting;

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use clap::ValueEnum;
use rustls::client::Resumption;
use rustls::crypto::CryptoProvider;
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, RootCertStore, SupportedProtocolVersion, version};

use crate::arguments::Arguments;
use sessions::Sessions;
use trusting::Trusting;

/// When TLS begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Mode {
    /// Behind the reply to STARTTLS (RFC 3207).
    Starttls,
    /// With the connection (RFC 8314 §3).
    Implicit,
}

/// A version of TLS.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Version {
    /// RFC 5246.
    #[value(name = "1.2")]
    Tls12,
    /// RFC 8446.
    #[value(name = "1.3")]
    Tls13,
}

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
    /// None when it was not asked for. `address` is where the target is. The error is for the user.
    pub fn new(arguments: &Arguments, address: IpAddr) -> Result<Option<Self>, String> {
        let Some(mode) = arguments.tls else { return Ok(None) };
        let name = match &arguments.tls_name {
            Some(name) => ServerName::try_from(name.clone())
                .map_err(|_| format!("--tls-name takes a host name or an address, not {name:?}"))?,
            None => name_of(&arguments.target).unwrap_or(ServerName::IpAddress(address.into())),
        };
        let versions: &[&SupportedProtocolVersion] = match arguments.tls_version {
            None => &[&version::TLS13, &version::TLS12],
            Some(Version::Tls12) => &[&version::TLS12],
            Some(Version::Tls13) => &[&version::TLS13],
        };
        let provider = ringmx::tls::context::provider();
        let config = ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_protocol_versions(versions)
            .map_err(|error| error.to_string())?;
        let config = match &arguments.tls_verify {
            Some(path) => config.with_root_certificates(roots(path)?),
            None => config.dangerous().with_custom_certificate_verifier(trusting(&provider)),
        };
        Ok(Some(Self {
            mode,
            name,
            verified: arguments.tls_verify.is_some(),
            resumption: arguments.tls_resume,
            version: arguments.tls_version,
            config: config.with_no_client_auth(),
        }))
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

impl Mode {
    /// As on the command line.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Starttls => "starttls",
            Self::Implicit => "implicit",
        }
    }
}

fn trusting(provider: &CryptoProvider) -> Arc<Trusting> {
    Arc::new(Trusting::new(provider.signature_verification_algorithms.supported_schemes()))
}

/// The target's host, if it is a name.
fn name_of(target: &str) -> Option<ServerName<'static>> {
    let (host, _) = target.rsplit_once(':')?;
    let name = ServerName::try_from(host.to_owned()).ok()?;
    matches!(name, ServerName::DnsName(_)).then_some(name)
}

fn roots(path: &Path) -> Result<RootCertStore, String> {
    let wrong = |what: &dyn std::fmt::Display| format!("--tls-verify {}: {what}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(&error))? {
        let certificate = certificate.map_err(|error| wrong(&error))?;
        roots.add(certificate).map_err(|error| wrong(&error))?;
    }
    if roots.is_empty() { Err(wrong(&"there is no certificate in it")) } else { Ok(roots) }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn tls(arguments: &str) -> Result<Option<Tls>, String> {
        let line = format!("loadgen {arguments}");
        let line = crate::arguments::CommandLine::try_parse_from(line.split(' ')).expect("arguments");
        Tls::new(&line.load.expect("a load"), IpAddr::from([127, 0, 0, 1]))
    }

    #[test]
    fn the_name_is_the_one_given_or_the_targets_or_an_address() {
        let name = |arguments: &str| {
            let tls = tls(&format!("{arguments} --tls implicit"))?;
            Ok::<_, String>(tls.expect("TLS").name.to_str().into_owned())
        };
        assert_eq!(name("mx.test:25"), Ok("mx.test".to_owned()));
        assert_eq!(name("mx.test:25 --tls-name a.test"), Ok("a.test".to_owned()));
        for target in ["127.0.0.1:25", "[::1]:25"] {
            assert_eq!(name(target), Ok("127.0.0.1".to_owned()), "{target}");
        }
        assert!(name("mx.test:25 --tls-name -").is_err());
    }

    #[test]
    fn roots_that_cannot_be_read_are_told() {
        let folder = tempfile::tempdir().expect("folder");
        let path = folder.path().join("roots.pem");
        assert!(roots(&path).is_err());
        std::fs::write(&path, "nothing\n").expect("written");
        assert!(roots(&path).is_err_and(|why| why.contains("no certificate")));
        let made = ringmx::tls::self_signed::make(&["mx.test".to_owned()]).expect("a certificate");
        std::fs::write(&path, made.chain).expect("written");
        assert_eq!(roots(&path).expect("roots").len(), 1);
    }

    #[test]
    fn without_the_argument_there_is_none() {
        assert!(tls("mx.test:25").expect("arguments").is_none());
    }
}
