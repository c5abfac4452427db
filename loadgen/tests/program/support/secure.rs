//! A small SMTP server that offers STARTTLS, with a trick up its sleeve if a test wants so.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// What it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trick {
    /// Nothing.
    None,
    /// Refuses STARTTLS.
    Refuses,
    /// Puts a reply in plaintext after that to STARTTLS.
    InjectsReply,
    /// Goes on in plaintext instead of a handshake.
    TalksPlaintext,
    /// Closes the connection in the handshake.
    ClosesInHandshake,
    /// Says nothing in the handshake.
    SilentInHandshake,
    /// Says that it sends nothing more instead of accepting a message.
    EndsInMailData,
}

/// A running server. Its threads end with the process.
pub(crate) struct SecureServer {
    pub(crate) address: SocketAddr,
    /// Connections that their client closed with close_notify.
    pub(crate) clean_ends: Arc<AtomicUsize>,
}

impl SecureServer {
    pub(crate) fn start(trick: Trick) -> Self {
        let (chain, key) = ringmx::tls::self_signed::make(&["mx.test".to_owned()])
            .and_then(|made| made.der())
            .expect("a certificate");
        let config = ServerConfig::builder_with_provider(ringmx::tls::context::provider())
            .with_safe_default_protocol_versions()
            .expect("versions")
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .expect("a certificate");
        let config = Arc::new(config);
        let listener = TcpListener::bind("127.0.0.1:0").expect("bind");
        let address = listener.local_addr().expect("address");
        let clean_ends = Arc::new(AtomicUsize::new(0));
        let ends = Arc::clone(&clean_ends);
        thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (config, ends) = (Arc::clone(&config), Arc::clone(&ends));
                thread::spawn(move || serve(stream, config, trick, &ends));
            }
        });
        Self { address, clean_ends }
    }
}

fn serve(mut stream: TcpStream, config: Arc<ServerConfig>, trick: Trick, ends: &AtomicUsize) -> Option<()> {
    stream.set_nodelay(true).ok()?;
    say(&mut stream, "220 mx.test")?;
    line(&mut stream)?;
    say(&mut stream, "250-mx.test\r\n250-PIPELINING\r\n250 STARTTLS")?;
    line(&mut stream).filter(|line| line == "STARTTLS\r\n")?;
    match trick {
        Trick::Refuses => say(&mut stream, "454 4.7.0 not now")?,
        Trick::InjectsReply => say(&mut stream, "220 go\r\n250 mx.test")?,
        _ => say(&mut stream, "220 go")?,
    }
    match trick {
        Trick::TalksPlaintext => say(&mut stream, "250 mx.test")?,
        Trick::ClosesInHandshake => {
            // Some of ClientHello, so that the end is not a reset.
            let _ = stream.read(&mut [0; 4096]);
            return None;
        }
        _ => {}
    }
    if trick != Trick::None && trick != Trick::EndsInMailData {
        let _ = stream.read_to_end(&mut Vec::new());
        return None;
    }
    let mut client = StreamOwned::new(ServerConnection::new(config).ok()?, stream);
    loop {
        match line(&mut client) {
            Some(command) if command.starts_with("EHLO") => {
                say(&mut client, "250-mx.test\r\n250 PIPELINING")?;
            }
            Some(command) if command.starts_with("DATA") => {
                say(&mut client, "354 go on")?;
                loop {
                    match line(&mut client).as_deref() {
                        Some(".\r\n") => break,
                        Some(_) => {}
                        None => return note_end(&mut client, ends),
                    }
                }
                if trick == Trick::EndsInMailData {
                    client.conn.send_close_notify();
                    client.flush().ok()?;
                    let _ = client.sock.read_to_end(&mut Vec::new());
                    return None;
                }
                say(&mut client, "250 accepted")?;
            }
            Some(command) if command.starts_with("QUIT") => say(&mut client, "221 bye")?,
            Some(_) => say(&mut client, "250 ok")?,
            None => return note_end(&mut client, ends),
        }
    }
}

/// Without close_notify the end is an error.
fn note_end(client: &mut impl Read, ends: &AtomicUsize) -> Option<()> {
    let clean = client.read(&mut [0]).is_ok_and(|count| count == 0);
    ends.fetch_add(usize::from(clean), Ordering::Relaxed);
    None
}

fn say(client: &mut impl Write, text: &str) -> Option<()> {
    client.write_all(format!("{text}\r\n").as_bytes()).and_then(|()| client.flush()).ok()
}

/// A line; `None` at the end.
fn line(client: &mut impl Read) -> Option<String> {
    let mut line = Vec::new();
    while !line.ends_with(b"\n") {
        let mut octet = [0];
        client.read_exact(&mut octet).ok()?;
        line.push(octet[0]);
    }
    String::from_utf8(line).ok()
}
