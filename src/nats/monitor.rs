//! What a server of the cluster tells of itself: whether it syncs what it acknowledges (`/varz` of its
//! monitoring).

use std::io::{self, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use serde_json::Value;

/// A server has so long for all of it.
const WAIT_MAX: Duration = Duration::from_secs(2);

/// Octets of an answer.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// From this version on `sync_interval: always` is what its documentation says.
const ALWAYS_SINCE: (u64, u64) = (2, 15);

/// What a server tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Server {
    /// Its name in the cluster.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Whether it syncs each message before it acknowledges it.
    pub syncs_always: bool,
    /// Else it syncs so often.
    pub sync_interval: Duration,
}

impl Server {
    /// Whether what it acknowledges is on its disk.
    pub fn is_synced(&self) -> bool {
        self.syncs_always && self.release() >= ALWAYS_SINCE
    }

    fn release(&self) -> (u64, u64) {
        let mut numbers = self.version.split('.').map(|number| number.parse().unwrap_or(0));
        (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0))
    }

    /// What is to be said of its syncs.
    pub fn text(&self) -> String {
        let Self { name, version, syncs_always, sync_interval } = self;
        let how = if *syncs_always {
            "syncs each message".to_owned()
        } else {
            format!("syncs every {} s", sync_interval.as_secs())
        };
        format!("{name} (nats-server {version}) {how}")
    }
}

/// Asks a server. For a thread that may wait.
///
/// # Errors
/// It does not answer, or not as a server does.
pub fn ask(address: SocketAddr) -> Result<Server, String> {
    let answer = get(address).map_err(|error| error.to_string())?;
    let body =
        answer.split_once("\r\n\r\n").filter(|_| answer.starts_with("HTTP/1.0 200")).map(|(_, body)| body);
    let body = body.ok_or_else(|| "it does not answer as a nats-server does".to_owned())?;
    let told: Value = serde_json::from_str(body).map_err(|error| error.to_string())?;
    read(&told).ok_or_else(|| "it tells nothing of JetStream; is it on?".to_owned())
}

/// HTTP/1.0: its answer ends with the connection, and is not cut into chunks.
fn get(address: SocketAddr) -> io::Result<String> {
    let until = Instant::now() + WAIT_MAX;
    let mut stream = TcpStream::connect_timeout(&address, WAIT_MAX)?;
    stream.set_write_timeout(Some(WAIT_MAX))?;
    stream.write_all(format!("GET /varz HTTP/1.0\r\nHost: {address}\r\n\r\n").as_bytes())?;
    let (mut answer, mut portion) = (Vec::new(), [0; 16 * 1024]);
    loop {
        let left = until.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if answer.len() > ANSWER_BYTES_MAX {
            return Err(io::Error::other("its answer is too long"));
        }
        stream.set_read_timeout(Some(left))?;
        match stream.read(&mut portion)? {
            0 => return Ok(String::from_utf8_lossy(&answer).into_owned()),
            count => answer.extend_from_slice(portion.get(..count).unwrap_or_default()),
        }
    }
}

fn read(told: &Value) -> Option<Server> {
    let text = |name: &str| told.get(name).and_then(Value::as_str).map(ToOwned::to_owned);
    let config = told.get("jetstream")?.get("config")?;
    let nanoseconds = config.get("sync_interval").and_then(Value::as_u64).unwrap_or(0);
    Some(Server {
        name: text("server_name")?,
        version: text("version")?,
        syncs_always: config.get("sync_always").and_then(Value::as_bool).unwrap_or(false),
        sync_interval: Duration::from_nanos(nanoseconds),
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(version: &str, config: Value) -> Option<Server> {
        read(&json!({ "server_name": "n1", "version": version, "jetstream": { "config": config } }))
    }

    #[test]
    fn what_is_synced_is_what_always_means_of_late() {
        let always = json!({ "sync_always": true, "sync_interval": 120_000_000_000_u64 });
        for (version, is_synced) in
            [("2.15.1", true), ("2.16.0", true), ("3.0.0", true), ("2.14.9", false), ("x", false)]
        {
            assert_eq!(
                told(version, always.clone()).map(|server| server.is_synced()),
                Some(is_synced),
                "{version}"
            );
        }
        let seldom = told("2.15.1", json!({ "sync_interval": 120_000_000_000_u64 })).expect("a server");
        assert!(!seldom.is_synced());
        assert_eq!(seldom.text(), "n1 (nats-server 2.15.1) syncs every 120 s");
        for odd in
            [json!({}), json!([]), json!({ "server_name": "n1", "version": "2.15.1", "jetstream": {} })]
        {
            assert_eq!(read(&odd), None, "{odd}");
        }
    }
}
