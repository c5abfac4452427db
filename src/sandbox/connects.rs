//! To whom a process that gave everything else up may connect.

/// To whom the process goes on to connect.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Connects {
    /// To sockets that are files.
    pub unix: bool,
    /// To these TCP ports, of any machine.
    pub tcp_ports: Vec<u16>,
}

impl Connects {
    /// Whether it connects to nobody.
    pub fn is_none(&self) -> bool {
        !self.unix && self.tcp_ports.is_empty()
    }
}
