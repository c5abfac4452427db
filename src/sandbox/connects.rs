//! To whom the process goes on to connect.

/// To whom the process goes on to connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connects {
    /// To sockets that are files.
    pub unix: bool,
    /// To these TCP ports, of any machine.
    pub tcp_ports: Vec<u16>,
    /// Name servers are asked: over UDP, and over TCP at one of those ports.
    pub dns: bool,
}

impl Connects {
    /// Whether it connects to nobody.
    pub fn is_none(&self) -> bool {
        !self.unix && !self.dns && self.tcp_ports.is_empty()
    }
}
