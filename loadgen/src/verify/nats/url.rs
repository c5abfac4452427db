//! Where a server is, and as whom it is asked: `nats://[USER:PASSWORD@|TOKEN@]HOST[:PORT]`.

/// The port of servers.
const PORT: u16 = 4222;

/// A place and who asks there.
#[derive(Debug, PartialEq, Eq)]
pub struct Url<'a> {
    /// Host and port, as they are connected to.
    pub address: String,
    /// Who asks.
    pub credentials: Credentials<'a>,
}

/// Who asks.
#[derive(Debug, PartialEq, Eq)]
pub enum Credentials<'a> {
    /// Anybody.
    None,
    /// Whoever knows this.
    Token(&'a str),
    /// Somebody with a password.
    User(&'a str, &'a str),
}

impl<'a> Url<'a> {
    /// Reads one.
    pub fn parse(url: &'a str) -> Result<Self, String> {
        const FORM: &str = "nats://[USER:PASSWORD@]HOST[:PORT] without TLS is wanted";
        let rest = url.strip_prefix("nats://").ok_or_else(|| format!("{url}: {FORM}"))?;
        let rest = rest.trim_end_matches('/');
        let (who, host) = rest.rsplit_once('@').map_or((None, rest), |(who, host)| (Some(who), host));
        if host.is_empty() || host.contains('/') {
            return Err(format!("{url}: {FORM}"));
        }
        let credentials = who.map_or(Credentials::None, |who| {
            who.split_once(':')
                .map_or(Credentials::Token(who), |(user, password)| Credentials::User(user, password))
        });
        // The colons in brackets are those of an IPv6 address.
        let behind = host.rsplit_once(']').map_or(host, |(_, behind)| behind);
        let address = if behind.contains(':') { host.to_owned() } else { format!("{host}:{PORT}") };
        Ok(Self { address, credentials })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_and_credentials_are_read() {
        let parsed = |url| Url::parse(url).map(|url| (url.address, url.credentials));
        let is = |address: &str, credentials| Ok((address.to_owned(), credentials));
        assert_eq!(parsed("nats://localhost"), is("localhost:4222", Credentials::None));
        assert_eq!(parsed("nats://[::1]"), is("[::1]:4222", Credentials::None));
        assert_eq!(parsed("nats://[::1]:7/"), is("[::1]:7", Credentials::None));
        assert_eq!(parsed("nats://t@h:1"), is("h:1", Credentials::Token("t")));
        assert_eq!(parsed("nats://a:b@c@h:1"), is("h:1", Credentials::User("a", "b@c")));
        for wrong in ["tls://h:1", "h:1", "nats://", "nats://h/x"] {
            assert!(parsed(wrong).is_err(), "{wrong}");
        }
    }
}
