//! TLS with a server that takes mail from us: octets of the socket in, octets for the socket out. No socket
//! and no clock.

use std::io::{self, BufRead, Write};
use std::path::Path;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{ClientConfig, ClientConnection, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::context::provider;
use super::pem;

/// The file of those who are trusted to vouch for servers, as Debian, Red Hat and Alpine have it.
pub const AUTHORITIES: &str = "/etc/ssl/certs/ca-certificates.crt";

/// How TLS is spoken, whether or not it is known with whom.
#[derive(Debug, Clone)]
pub struct TlsSettings {
    /// With anybody: against who only listens (RFC 7435).
    pub opportunistic: Arc<ClientConfig>,
    /// With whom an authority vouches for; none where the authorities cannot be read.
    pub verified: Option<Arc<ClientConfig>>,
}

impl TlsSettings {
    /// `authorities` is the file of those who are trusted; none where nobody has to be verified.
    ///
    /// # Errors
    /// What is wrong with that file.
    pub fn new(authorities: Option<&Path>) -> Result<Self, String> {
        let config = |verifier: Option<RootCertStore>| -> Result<Arc<ClientConfig>, String> {
            let provider = provider();
            let builder = ClientConfig::builder_with_provider(Arc::clone(&provider))
                .with_safe_default_protocol_versions()
                .map_err(|error| error.to_string())?;
            let builder = match verifier {
                Some(roots) => builder.with_root_certificates(roots),
                None => builder.dangerous().with_custom_certificate_verifier(Arc::new(Anybody(provider))),
            };
            Ok(Arc::new(builder.with_no_client_auth()))
        };
        let verified = match authorities {
            Some(path) => Some(config(Some(read_authorities(path)?))?),
            None => None,
        };
        Ok(Self { opportunistic: config(None)?, verified })
    }
}

/// How TLS is spoken with servers that one of these vouches for; to whom the certificate of these two files,
/// a chain and its key, is shown.
///
/// # Errors
/// What is wrong with one of the files.
pub fn client_config(authorities: &Path, own: Option<(&Path, &Path)>) -> Result<Arc<ClientConfig>, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(read_authorities(authorities)?);
    let Some((chain, key)) = own else { return Ok(Arc::new(builder.with_no_client_auth())) };
    let wrong = |path: &Path, why: String| format!("{}: {why}", path.display());
    let certificates = pem::certificates(chain).map_err(|why| wrong(chain, why))?;
    let private_key = pem::private_key(key).map_err(|why| wrong(key, why))?;
    let config = builder.with_client_auth_cert(certificates, private_key);
    config.map(Arc::new).map_err(|error| wrong(key, error.to_string()))
}

fn read_authorities(path: &Path) -> Result<RootCertStore, String> {
    let wrong =
        |why: String| format!("{}: the authorities that are trusted cannot be read: {why}", path.display());
    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_file_iter(path).map_err(|error| wrong(error.to_string()))? {
        let certificate = certificate.map_err(|error| wrong(error.to_string()))?;
        // One that nobody can use is no reason to trust none.
        let _ = roots.add(certificate);
    }
    if roots.is_empty() { Err(wrong("it holds no certificate".to_owned())) } else { Ok(roots) }
}

/// Takes whatever certificate is shown, and checks that the server has its key.
#[derive(Debug)]
struct Anybody(Arc<CryptoProvider>);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(message, certificate, signed, &self.0.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

/// Our end of one connection.
#[derive(Debug)]
pub struct Channel {
    connection: ClientConnection,
    /// An authority vouches for the server.
    pub is_authenticated: bool,
    is_established: bool,
}

impl Channel {
    /// One that has said nothing yet, with the server of this name.
    ///
    /// # Errors
    /// Why the server of this name cannot be spoken to.
    pub fn new(settings: &TlsSettings, name: &str, must_verify: bool) -> Result<Self, String> {
        let config = match (must_verify, &settings.verified) {
            (true, Some(config)) => config,
            (true, None) => return Err("nobody is known who vouches for servers".to_owned()),
            (false, _) => &settings.opportunistic,
        };
        let name = ServerName::try_from(name.to_owned()).map_err(|error| format!("{name}: {error}"))?;
        let mut connection =
            ClientConnection::new(Arc::clone(config), name).map_err(|error| error.to_string())?;
        // What is said at a time is bounded by whoever says it.
        connection.set_buffer_limit(None);
        Ok(Self { connection, is_authenticated: must_verify, is_established: false })
    }

    /// Whether the handshake is done.
    pub fn is_established(&self) -> bool {
        self.is_established
    }

    /// Whether the handshake is done: said once.
    pub fn take_established(&mut self) -> bool {
        let is_new = !self.is_established && !self.connection.is_handshaking();
        self.is_established |= is_new;
        is_new
    }

    /// Takes octets of the socket and appends what they say; false where the server says nothing more.
    pub fn receive(&mut self, mut octets: &[u8], plaintext: &mut Vec<u8>) -> Result<bool, rustls::Error> {
        let mut goes_on = true;
        while !octets.is_empty() {
            let taken = self.connection.read_tls(&mut octets).map_err(|error| failure(&error))?;
            let state = self.connection.process_new_packets()?;
            goes_on = !state.peer_has_closed();
            let mut reader = self.connection.reader();
            while let Ok(some) = reader.fill_buf()
                && !some.is_empty()
            {
                plaintext.extend_from_slice(some);
                let count = some.len();
                reader.consume(count);
            }
            if taken == 0 {
                return Err(rustls::Error::General("octets that TLS does not take".to_owned()));
            }
        }
        Ok(goes_on)
    }

    /// Encrypts what is said.
    pub fn say(&mut self, plaintext: &[u8]) -> Result<(), rustls::Error> {
        self.connection.writer().write_all(plaintext).map_err(|error| failure(&error))
    }

    /// Appends what is to be sent.
    pub fn take_ciphertext(&mut self, out: &mut Vec<u8>) -> Result<(), rustls::Error> {
        while self.connection.wants_write() {
            self.connection.write_tls(out).map_err(|error| failure(&error))?;
        }
        Ok(())
    }
}

fn failure(error: &io::Error) -> rustls::Error {
    rustls::Error::General(error.to_string())
}
