//! Where load is sent to.

use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::time::Duration;

use super::usage::{UsageError, wrong};

/// Looks the target up. Load is a weapon, so anything but this machine must be asked for by name.
pub fn address(target: &str, anywhere: bool, timeout: Duration) -> Result<SocketAddr, UsageError> {
    let found = target.to_socket_addrs().map_err(|error| {
        UsageError(format!("the target {target:?} is not HOST:PORT, or cannot be looked up: {error}"))
    })?;
    let found: Vec<SocketAddr> = found.collect();
    if let Some(far) = found.iter().find(|address| !anywhere && !address.ip().to_canonical().is_loopback()) {
        return wrong(format!(
            "{target} is {}, not this machine: load is sent to a loopback address only, unless --i-own-this-host says that \
             you may",
            far.ip()
        ));
    }
    match found[..] {
        [] => wrong(format!("{target} has no address")),
        [only] => Ok(only),
        // A name may have addresses that nobody listens on: the first that answers is taken.
        [first, ..] => {
            let answers = |address: &&SocketAddr| TcpStream::connect_timeout(address, timeout).is_ok();
            Ok(found.iter().find(answers).copied().unwrap_or(first))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_this_machine_unless_owned() {
        let timeout = Duration::from_millis(10);
        for near in ["127.0.0.1:25", "127.9.9.9:1", "[::1]:25", "[::ffff:127.0.0.1]:25"] {
            assert!(address(near, false, timeout).is_ok(), "{near}");
        }
        for far in ["192.0.2.1:25", "[2001:db8::1]:25", "0.0.0.0:25"] {
            assert!(address(far, false, timeout).is_err(), "{far}");
            assert!(address(far, true, timeout).is_ok(), "{far}");
        }
        for wrong in ["127.0.0.1", "::1", "127.0.0.1:99999", ":"] {
            assert!(address(wrong, true, timeout).is_err(), "{wrong}");
        }
    }
}
