//! The fields of a record's envelope that tell what TLS the message came under. None of them is critical: a
//! reader that does not know them loses nothing that it needs to hand the message on.

use crate::mail::client::TlsFacts;
use crate::sink::facts::TlsText;

/// 17 and 18 are left out: with the critical bit they mean something else.
mod tag {
    pub(super) const VERSION: u16 = 19;
    pub(super) const CIPHER: u16 = 20;
    pub(super) const RESUMED: u16 = 21;
    pub(super) const CLIENT_CERTIFICATE: u16 = 22;
    pub(super) const SERVER_NAME: u16 = 23;
}

/// What TLS a message came under.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct StoredTls {
    /// `TLSv1.2`, `TLSv1.3`, or what comes after them.
    pub version: Vec<u8>,
    /// The cipher suite by its IANA name.
    pub cipher: Vec<u8>,
    /// A session was resumed.
    pub resumed: bool,
    /// The client showed a certificate, which nobody verified.
    pub client_certificate: bool,
    /// The name that the client asked for; empty when it asked for none.
    pub server_name: Vec<u8>,
}

impl StoredTls {
    /// As text for another program.
    pub(super) fn text(&self) -> TlsText<'_> {
        let Self { version, cipher, resumed, client_certificate, server_name } = self;
        TlsText { version, cipher, resumed: *resumed, client_certificate: *client_certificate, server_name }
    }

    /// Takes a field, if it is one of these.
    pub(super) fn take(stored: &mut Option<Self>, tag: u16, value: &[u8]) {
        if !(tag::VERSION..=tag::SERVER_NAME).contains(&tag) {
            return;
        }
        let tls = stored.get_or_insert_default();
        match tag {
            tag::VERSION => tls.version = value.to_vec(),
            tag::CIPHER => tls.cipher = value.to_vec(),
            tag::RESUMED => tls.resumed = true,
            tag::CLIENT_CERTIFICATE => tls.client_certificate = true,
            tag::SERVER_NAME => tls.server_name = value.to_vec(),
            _ => {}
        }
    }
}

/// Gives each field, by tag and value.
pub(super) fn encode(tls: &TlsFacts, mut field: impl FnMut(u16, &[u8])) {
    let TlsFacts { version, cipher, resumed, client_certificate, server_name } = tls;
    field(tag::VERSION, version.as_bytes());
    field(tag::CIPHER, cipher.as_bytes());
    if *resumed {
        field(tag::RESUMED, &[]);
    }
    if *client_certificate {
        field(tag::CLIENT_CERTIFICATE, &[]);
    }
    if let Some(name) = server_name {
        field(tag::SERVER_NAME, name.as_bytes());
    }
}
