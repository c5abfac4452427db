//! A client under TLS that trusts everybody: what is tested is the server.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use ringmx::tls::context::provider;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, SignatureScheme, StreamOwned, SupportedProtocolVersion};
use trusting::Trusting;

use super::client::Client;
use super::server::Server;

/// A certificate that a client shows.
pub type Shown = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// What a client offers. Its sessions can be resumed by whoever uses the same configuration.
pub struct Offer<'a> {
    /// The versions of TLS that it speaks.
    pub versions: &'a [&'static SupportedProtocolVersion],
    /// The signatures that it checks; none: all that there are.
    pub schemes: Option<Vec<SignatureScheme>>,
    /// The certificate that it shows when asked.
    pub certificate: Option<Shown>,
}

impl Default for Offer<'_> {
    fn default() -> Self {
        Self { versions: rustls::ALL_VERSIONS, schemes: None, certificate: None }
    }
}

impl Offer<'_> {
    /// The configuration of a client that offers this.
    pub fn config(self) -> Arc<ClientConfig> {
        let provider = provider();
        let all = provider.signature_verification_algorithms.supported_schemes();
        let builder = ClientConfig::builder_with_provider(provider)
            .with_protocol_versions(self.versions)
            .expect("versions")
            .dangerous()
            .with_custom_certificate_verifier(Arc::new(Trusting(self.schemes.unwrap_or(all))));
        Arc::new(match self.certificate {
            Some((chain, key)) => builder.with_client_auth_cert(chain, key).expect("a certificate"),
            None => builder.with_no_client_auth(),
        })
    }
}

/// A client under TLS.
pub type Secure = StreamOwned<ClientConnection, TcpStream>;

/// TLS over a stream, with what is usual.
pub fn secure(stream: TcpStream) -> Secure {
    secure_with(stream, &Offer::default().config(), "mx.example")
}

/// TLS over a stream, for a server of this name.
pub fn secure_with(stream: TcpStream, config: &Arc<ClientConfig>, name: &str) -> Secure {
    let name = ServerName::try_from(name.to_owned()).expect("a name");
    StreamOwned::new(ClientConnection::new(Arc::clone(config), name).expect("a client"), stream)
}

/// A connection that waits long, not for ever.
pub fn connect(address: SocketAddr) -> TcpStream {
    let stream = TcpStream::connect(address).expect("connected");
    stream.set_nodelay(true).expect("nodelay");
    stream.set_read_timeout(Some(Duration::from_mins(1))).expect("a time-out");
    stream
}

/// A session under TLS behind STARTTLS, greeted.
pub fn behind_starttls(server: &Server) -> Secure {
    behind_starttls_with(server, &Offer::default().config(), "mx.example")
}

/// The same with a client of one's own.
pub fn behind_starttls_with(server: &Server, config: &Arc<ClientConfig>, name: &str) -> Secure {
    let mut client = Client::greeted(server.addresses()[0]);
    client.command("STARTTLS", "220 2.0.0");
    let mut secure = secure_with(client.stream().try_clone().expect("a descriptor"), config, name);
    command(&mut secure, b"EHLO client.example\r\n", "250");
    secure
}

/// The next reply.
pub fn reply(client: &mut impl Read) -> String {
    let mut reply = Vec::new();
    loop {
        let mut octet = [0];
        client.read_exact(&mut octet).expect("a reply");
        reply.push(octet[0]);
        let line = reply.rsplit(|octet| *octet == b'\n').nth(1).unwrap_or_default();
        if octet[0] == b'\n' && line.get(3) != Some(&b'-') {
            return String::from_utf8(reply).expect("ASCII");
        }
    }
}

/// Sends octets, whose reply begins so.
pub fn command(client: &mut Secure, octets: &[u8], expected: &str) {
    client.write_all(octets).expect("sent");
    let reply = reply(client);
    assert!(reply.starts_with(expected), "{}: {reply}", octets.escape_ascii());
}

/// A transaction up to its mail data.
pub fn begin(client: &mut Secure) {
    command(client, b"MAIL FROM:<a@x.test>\r\n", "250");
    command(client, b"RCPT TO:<b@y.test>\r\n", "250");
}
