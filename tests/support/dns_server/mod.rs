//! A DNS server on loopback, over UDP and TCP, that answers as a test says: rightly, late, wrongly or never.
//! It counts what it is asked.

mod message;
mod zone_file;

use std::collections::HashMap;
use std::io::{Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use self::message::{Query, Record};

/// How the server answers for a name.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Behaviour {
    /// As the zone says.
    #[default]
    Right,
    /// SERVFAIL.
    ServerFailure,
    /// REFUSED.
    Refused,
    /// Not at all.
    Silent,
    /// As the zone says for kinds of which it has records, else not at all.
    SilentElse,
    /// As the zone says, after this time.
    Late(Duration),
    /// Over UDP cut off, over TCP as the zone says.
    Truncated,
    /// With the id of another question, never with the right one.
    WrongId,
    /// With octets that are no DNS message but for their id.
    Garbage,
}

/// The running server; it ends by drop.
pub struct DnsServer {
    address: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    stop: AtomicBool,
    zone: Mutex<Zone>,
}

#[derive(Default)]
struct Zone {
    records: HashMap<String, Vec<Record>>,
    behaviours: HashMap<String, Behaviour>,
    default_behaviour: Behaviour,
    counts: HashMap<(String, u16), usize>,
    seconds: u32,
    is_validating: bool,
    is_deaf_over_tcp: bool,
}

/// How long a thread waits until it looks whether it should end.
const LOOK_EVERY: Duration = Duration::from_millis(50);

impl DnsServer {
    /// A server with an empty zone: there is no name.
    pub fn start() -> Self {
        // A port that is free over TCP is most often free over UDP, too.
        let (listener, socket) = (0..100)
            .find_map(|_| {
                let listener = TcpListener::bind("127.0.0.1:0").ok()?;
                let socket = UdpSocket::bind(listener.local_addr().ok()?).ok()?;
                Some((listener, socket))
            })
            .expect("a free port");
        let address = listener.local_addr().expect("an address");
        let zone = Mutex::new(Zone { seconds: 300, ..Zone::default() });
        let shared = Arc::new(Shared { stop: AtomicBool::new(false), zone });
        socket.set_read_timeout(Some(LOOK_EVERY)).expect("a time-out");
        listener.set_nonblocking(true).expect("a socket that does not wait");
        let (over_udp, over_tcp) = (Arc::clone(&shared), Arc::clone(&shared));
        let threads = vec![
            thread::spawn(move || serve_udp(&socket, &over_udp)),
            thread::spawn(move || serve_tcp(&listener, &over_tcp)),
        ];
        Self { address, shared, threads }
    }

    /// Where it listens.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// How long answers live, from now on.
    pub fn set_lifetime(&self, seconds: u32) {
        self.zone().seconds = seconds;
    }

    /// From now on answers are said to be validated, as if the whole zone were signed.
    pub fn validate(&self) -> &Self {
        self.zone().is_validating = true;
        self
    }

    /// From now on nothing is answered over TCP.
    pub fn be_deaf_over_tcp(&self) -> &Self {
        self.zone().is_deaf_over_tcp = true;
        self
    }

    /// Makes a name without records, unless others say more of it.
    pub fn exists(&self, name: &str) -> &Self {
        self.zone().records.entry(key(name)).or_default();
        self
    }

    /// Adds addresses of a name.
    pub fn address_of(&self, name: &str, address: &str) -> &Self {
        match address.parse().expect("an address") {
            IpAddr::V4(address) => self.add(name, message::A, Ipv4Addr::octets(&address).to_vec()),
            IpAddr::V6(address) => self.add(name, message::AAAA, Ipv6Addr::octets(&address).to_vec()),
        }
    }

    /// Adds a text.
    pub fn txt(&self, name: &str, text: impl AsRef<[u8]>) -> &Self {
        self.add(name, message::TXT, message::text(text.as_ref()))
    }

    /// Adds a text of these strings, each of at most 255 octets.
    pub fn txt_strings(&self, name: &str, strings: &[impl AsRef<[u8]>]) -> &Self {
        let strings: Vec<&[u8]> = strings.iter().map(AsRef::as_ref).collect();
        self.add(name, message::TXT, message::text_of(&strings))
    }

    /// Adds a mail exchanger; `.` for "takes no mail".
    pub fn mx(&self, name: &str, preference: u16, exchanger: &str) -> &Self {
        self.add(name, message::MX, [&preference.to_be_bytes()[..], &message::name(exchanger)].concat())
    }

    /// Adds a name of an address.
    pub fn ptr(&self, address: &str, name: &str) -> &Self {
        let reversed = ringmx::dns::Name::reverse(address.parse().expect("an address"));
        self.ptr_of(&reversed.to_string(), name)
    }

    /// The same, by the name that stands for the address.
    pub fn ptr_of(&self, reversed: &str, name: &str) -> &Self {
        self.add(reversed, message::PTR, message::name(name))
    }

    /// Adds what a server's certificate is: usage, selector, matching and data.
    pub fn tlsa(&self, name: &str, [usage, selector, matching]: [u8; 3], data: &[u8]) -> &Self {
        self.add(name, message::TLSA, [&[usage, selector, matching][..], data].concat())
    }

    /// Makes one name another's.
    pub fn cname(&self, name: &str, target: &str) -> &Self {
        self.add(name, message::CNAME, message::name(target))
    }

    /// Says how it answers for a name.
    pub fn behave(&self, name: &str, behaviour: Behaviour) -> &Self {
        self.zone().behaviours.insert(name.to_ascii_lowercase(), behaviour);
        self
    }

    /// Says how it answers for all names of which nothing else is said.
    pub fn behave_by_default(&self, behaviour: Behaviour) -> &Self {
        self.zone().default_behaviour = behaviour;
        self
    }

    /// Removes all that is said of a name.
    pub fn forget(&self, name: &str) -> &Self {
        let mut zone = self.zone();
        zone.records.remove(&name.to_ascii_lowercase());
        zone.behaviours.remove(&name.to_ascii_lowercase());
        drop(zone);
        self
    }

    /// How often a name was asked for, whatever the kind.
    pub fn asked(&self, name: &str) -> usize {
        let name = name.to_ascii_lowercase();
        self.zone().counts.iter().filter(|((asked, _), _)| *asked == name).map(|(_, count)| count).sum()
    }

    /// All questions so far.
    pub fn asked_in_all(&self) -> usize {
        self.zone().counts.values().sum()
    }

    fn add(&self, name: &str, kind: u16, data: Vec<u8>) -> &Self {
        let name = key(name);
        let record = Record { name: name.clone(), kind, seconds: 0, data };
        self.zone().records.entry(name).or_default().push(record);
        self
    }

    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.shared.zone.lock().expect("no panic")
    }
}

impl Drop for DnsServer {
    fn drop(&mut self) {
        self.shared.stop.store(true, Ordering::Relaxed);
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

/// What the server does with a question.
enum Deed {
    Answer(Vec<u8>),
    AnswerLate(Vec<u8>, Duration),
    Nothing,
}

impl Shared {
    fn must_stop(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }

    fn deed(&self, octets: &[u8], is_udp: bool) -> Deed {
        let Some(query) = message::read(octets) else { return Deed::Nothing };
        let mut zone = self.zone.lock().expect("no panic");
        *zone.counts.entry((query.name.clone(), query.kind)).or_default() += 1;
        let behaviour = zone.behaviours.get(&query.name).copied().unwrap_or(zone.default_behaviour);
        if zone.is_deaf_over_tcp && !is_udp {
            return Deed::Nothing;
        }
        let whole = |truncated| {
            let mut octets = zone.answer(&query, is_udp, truncated);
            if zone.is_validating {
                message::mark_authentic(&mut octets);
            }
            octets
        };
        let code = |code| Deed::Answer(message::write(&query, code, false, &[], &[]));
        match behaviour {
            Behaviour::ServerFailure => code(message::SERVER_FAILURE),
            Behaviour::Refused => code(message::REFUSED),
            Behaviour::Silent => Deed::Nothing,
            Behaviour::SilentElse if !zone.has(&query) => Deed::Nothing,
            Behaviour::Right | Behaviour::SilentElse => Deed::Answer(whole(false)),
            Behaviour::Late(time) => Deed::AnswerLate(whole(false), time),
            Behaviour::Truncated => Deed::Answer(whole(is_udp)),
            Behaviour::WrongId => {
                let mut octets = whole(false);
                octets[0] ^= 0x55;
                Deed::Answer(octets)
            }
            Behaviour::Garbage => {
                let mut octets = query.id.to_be_bytes().to_vec();
                octets.extend([0xff; 40]);
                Deed::Answer(octets)
            }
        }
    }
}

impl Zone {
    fn has(&self, query: &Query) -> bool {
        self.records.get(&query.name).is_some_and(|all| all.iter().any(|one| one.kind == query.kind))
    }

    fn answer(&self, query: &Query, is_udp: bool, truncated: bool) -> Vec<u8> {
        if truncated {
            return message::write(query, message::NO_ERROR, true, &[], &[]);
        }
        let (mut answers, mut name) = (Vec::new(), query.name.clone());
        // A loop of CNAMEs is answered as a loop, as far as it fits.
        for _ in 0..16 {
            let records = self.records.get(&name).map_or(&[][..], Vec::as_slice);
            answers.extend(records.iter().filter(|record| record.kind == query.kind).cloned());
            let cname =
                records.iter().find(|record| record.kind == message::CNAME && query.kind != message::CNAME);
            let Some(cname) = cname else { break };
            answers.push(cname.clone());
            name = key(&text_of(&cname.data));
        }
        for record in &mut answers {
            record.seconds = self.seconds;
        }
        // A resolver keeps "no such name" for as long as the SOA says (RFC 2308 §5).
        let soa = [message::name("ns.test"), message::name("root.test"), [0, 0, 0, 60].repeat(5)].concat();
        let soa = Record { name: "test".to_owned(), kind: message::SOA, seconds: self.seconds, data: soa };
        let has_name = self.records.contains_key(&name);
        let code = if has_name || !answers.is_empty() { message::NO_ERROR } else { message::NO_NAME };
        let authority = if answers.is_empty() { vec![soa] } else { Vec::new() };
        let octets = message::write(query, code, false, &answers, &authority);
        if is_udp && octets.len() > query.udp_bytes_max {
            return message::write(query, message::NO_ERROR, true, &[], &[]);
        }
        octets
    }
}

/// A name as the zone has it.
fn key(name: &str) -> String {
    name.trim_end_matches('.').to_ascii_lowercase()
}

/// The text of a name on the wire without pointers.
fn text_of(octets: &[u8]) -> String {
    let (mut labels, mut rest) = (Vec::new(), octets);
    while let Some((length, after)) = rest.split_first().filter(|(length, _)| **length > 0) {
        let (label, after) = after.split_at(usize::from(*length));
        labels.push(String::from_utf8_lossy(label).into_owned());
        rest = after;
    }
    labels.join(".")
}

fn serve_udp(socket: &UdpSocket, shared: &Arc<Shared>) {
    let mut octets = [0; 4096];
    while !shared.must_stop() {
        let Ok((count, from)) = socket.recv_from(&mut octets) else { continue };
        match shared.deed(&octets[..count], true) {
            Deed::Answer(answer) => drop(socket.send_to(&answer, from)),
            Deed::AnswerLate(answer, time) => {
                let socket = socket.try_clone().expect("a descriptor");
                thread::spawn(move || {
                    thread::sleep(time);
                    let _ = socket.send_to(&answer, from);
                });
            }
            Deed::Nothing => {}
        }
    }
}

fn serve_tcp(listener: &TcpListener, shared: &Arc<Shared>) {
    while !shared.must_stop() {
        match listener.accept() {
            Ok((stream, _)) => {
                let shared = Arc::clone(shared);
                thread::spawn(move || drop(serve_stream(stream, &shared)));
            }
            Err(_) => thread::sleep(LOOK_EVERY / 5),
        }
    }
}

fn serve_stream(mut stream: TcpStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    while !shared.must_stop() {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut octets = vec![0; usize::from(u16::from_be_bytes(length))];
        stream.read_exact(&mut octets)?;
        let answer = match shared.deed(&octets, false) {
            Deed::Answer(answer) => answer,
            Deed::AnswerLate(answer, time) => {
                thread::sleep(time);
                answer
            }
            Deed::Nothing => continue,
        };
        let length = u16::try_from(answer.len()).unwrap_or(u16::MAX);
        stream.write_all(&length.to_be_bytes())?;
        stream.write_all(&answer[..usize::from(length)])?;
    }
    Ok(())
}
