//! What is needed for a cluster, with what of files is needed for it: whoever has given up files makes it
//! before.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use async_nats::ConnectOptions;
use rustls::ClientConfig;

use crate::config;
use crate::tls::as_client::{AUTHORITIES, client_config};

/// A server has so long to let us connect.
const CONNECT_WAIT_MAX: Duration = Duration::from_secs(2);

/// A connection on which a server has said nothing for so long is asked, and is given up when three such
/// questions have no answer.
const PING_EVERY: Duration = Duration::from_secs(1);

/// The longest rest between two attempts to connect.
const RECONNECT_REST_MAX: Duration = Duration::from_millis(500);

/// Octets of a file of credentials.
const CREDENTIALS_BYTES_MAX: u64 = 64 * 1024;

/// A cluster and its stream.
#[derive(Clone)]
pub struct Plan {
    /// As it is configured.
    pub cluster: config::Nats,
    /// Where mail does not go: `hostname` of this receiver, for the servers' lists of connections.
    pub hostname: String,
    credentials: Option<String>,
    tls: Option<Arc<ClientConfig>>,
}

impl std::fmt::Debug for Plan {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Plan").field("cluster", &self.cluster).finish_non_exhaustive()
    }
}

impl Plan {
    /// Reads the files that it names.
    ///
    /// # Errors
    /// What is wrong with one of them.
    pub fn new(cluster: &config::Nats, hostname: &str) -> Result<Self, String> {
        let credentials = cluster.credentials.as_deref().map(read_credentials).transpose()?;
        let tls = if cluster.speaks_tls() {
            let authorities = cluster.tls_ca.as_deref().unwrap_or(Path::new(AUTHORITIES));
            let own = cluster.tls_certificate.as_ref();
            let own = own.map(|(chain, key)| (chain.as_path(), key.as_path()));
            Some(client_config(authorities, own)?)
        } else {
            None
        };
        Ok(Self { cluster: cluster.clone(), hostname: hostname.to_owned(), credentials, tls })
    }

    /// How it is connected to.
    pub(super) fn options(&self) -> Result<ConnectOptions, String> {
        let mut options = ConnectOptions::new()
            .name(format!("ringmx {}", self.hostname))
            .connection_timeout(CONNECT_WAIT_MAX)
            .ping_interval(PING_EVERY)
            // The others may be where this process may not connect.
            .ignore_discovered_servers()
            .max_reconnects(None)
            .reconnect_delay_callback(|attempts| {
                let exponent = u32::try_from(attempts.saturating_sub(1).min(9)).unwrap_or(9);
                Duration::from_millis(1 << exponent).min(RECONNECT_REST_MAX)
            });
        if let Some(tls) = &self.tls {
            options = options.tls_client_config((**tls).clone());
        }
        if let Some(credentials) = &self.credentials {
            options = options.credentials(credentials).map_err(|error| format!("`credentials`: {error}"))?;
        }
        Ok(options)
    }

    /// The servers as URLs.
    pub(super) fn servers(&self) -> Vec<String> {
        self.cluster.servers.iter().map(ToString::to_string).collect()
    }
}

fn read_credentials(path: &Path) -> Result<String, String> {
    let wrong = |why: String| format!("{}: the credentials cannot be read: {why}", path.display());
    let length = std::fs::metadata(path).map_err(|error| wrong(error.to_string()))?.len();
    if length > CREDENTIALS_BYTES_MAX {
        return Err(wrong(format!("the file has more than {CREDENTIALS_BYTES_MAX} octets")));
    }
    let text = std::fs::read_to_string(path).map_err(|error| wrong(error.to_string()))?;
    // Whether they are any, before anybody connects.
    ConnectOptions::new().credentials(&text).map_err(|error| wrong(error.to_string()))?;
    Ok(text)
}
