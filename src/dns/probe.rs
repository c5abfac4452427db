//! One question to one name server, over UDP or TCP, without the resolver: whether it answers, how soon, and
//! whether it validates. For who looks at the servers themselves; checks never ask so.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How a server is asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Way {
    /// As nearly all questions are.
    Udp,
    /// As those are whose answers are long.
    Tcp,
}

/// What a server answered.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reply {
    /// How long it took.
    pub took: Duration,
    /// Its code (RFC 1035 §4.1.1): 0 and 3 are answers.
    pub code: u8,
    /// It looks names up for others (RA).
    pub recurses: bool,
    /// It says that it validated the answer (AD, RFC 4035 §3.2.3).
    pub is_authentic: bool,
}

/// The name servers of the root, which is signed: flags RD and AD (RFC 6840 §5.7), one question, type NS,
/// class IN. The first two octets are its number.
const QUESTION: [u8; 17] = [0, 0, 0x01, 0x20, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 2, 0, 1];

/// Number, flags, and the counts of four sections.
const HEADER_BYTES: usize = 12;

/// An answer over UDP to a question that allows no more (RFC 1035 §4.2.1).
const UDP_BYTES_MAX: usize = 512;

/// Asks a server for the name servers of the root. An error where nothing came that answers, in this time.
pub fn ask(server: SocketAddr, way: Way, within: Duration) -> io::Result<Reply> {
    let number = RandomState::new().build_hasher().finish().to_be_bytes();
    let number = [number[0], number[1]];
    let mut question = QUESTION;
    question[..2].copy_from_slice(&number);
    let begun = Instant::now();
    let header = match way {
        Way::Udp => ask_by_udp(server, &question, begun, within)?,
        Way::Tcp => ask_by_tcp(server, &question, begun, within)?,
    };
    let [first, second, flags, more_flags, ..] = header;
    if [first, second] != number || flags & 0x80 == 0 {
        return Err(io::Error::new(ErrorKind::InvalidData, "what it sends answers nothing that was asked"));
    }
    Ok(Reply {
        took: begun.elapsed(),
        code: more_flags & 0x0f,
        recurses: more_flags & 0x80 != 0,
        is_authentic: more_flags & 0x20 != 0,
    })
}

/// Asks again at half the time: a packet may be lost.
fn ask_by_udp(
    server: SocketAddr,
    question: &[u8],
    begun: Instant,
    within: Duration,
) -> io::Result<[u8; HEADER_BYTES]> {
    let any: IpAddr =
        if server.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind(SocketAddr::new(any, 0))?;
    // From now on nobody else's packets come here.
    socket.connect(server)?;
    let mut answer = [0; UDP_BYTES_MAX];
    for end in [within / 2, within] {
        socket.send(question)?;
        socket.set_read_timeout(Some(left(begun, end)))?;
        match socket.recv(&mut answer) {
            Ok(count) => return header(answer.get(..count).unwrap_or_default()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(error) => return Err(error),
        }
    }
    Err(ErrorKind::TimedOut.into())
}

fn ask_by_tcp(
    server: SocketAddr,
    question: &[u8],
    begun: Instant,
    within: Duration,
) -> io::Result<[u8; HEADER_BYTES]> {
    let mut stream = TcpStream::connect_timeout(&server, within)?;
    stream.set_read_timeout(Some(left(begun, within)))?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?.to_be_bytes();
    stream.write_all(&[&length, question].concat())?;
    let mut answer = [0; 2 + HEADER_BYTES];
    stream.read_exact(&mut answer)?;
    header(answer.get(2..).unwrap_or_default())
}

/// Not zero, which would be no bound at all.
fn left(begun: Instant, within: Duration) -> Duration {
    within.saturating_sub(begun.elapsed()).max(Duration::from_millis(1))
}

fn header(answer: &[u8]) -> io::Result<[u8; HEADER_BYTES]> {
    let header = answer.first_chunk().copied();
    header.ok_or_else(|| io::Error::new(ErrorKind::InvalidData, "what it sends is no answer"))
}
