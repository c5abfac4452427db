//! A milter that does what a test says: late, nonsense, closing in the middle. It does not use libmilter.

use std::fmt;
use std::io::{Read, Write};
use std::os::unix::net::UnixListener;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// It adds header fields and puts into quarantine.
pub const ACTIONS: u32 = 0x21;

/// What it does with a command, one after the other.
#[derive(Debug, Clone)]
pub enum Act {
    /// It sends these octets, whatever they are.
    Sends(Vec<u8>),
    /// It takes so much time.
    Waits(Duration),
    /// It closes the connection.
    Closes,
    /// It never answers, and keeps the connection.
    Hangs,
}

/// What it does with this command and its data; none: what is polite.
pub type Manner = dyn Fn(u8, &[u8]) -> Option<Vec<Act>> + Send + Sync;

struct Shared {
    manner: Arc<Manner>,
    told: Vec<(u8, Vec<u8>)>,
    connections: usize,
    open: usize,
    open_max: usize,
}

/// A milter on threads of its own, which end with the program; its socket is a file.
#[derive(Clone)]
pub struct FakeMilter {
    shared: Arc<Mutex<Shared>>,
    folder: Arc<tempfile::TempDir>,
}

impl fmt::Debug for FakeMilter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FakeMilter").finish_non_exhaustive()
    }
}

impl FakeMilter {
    /// One that says `continue` to everything.
    pub fn polite() -> Self {
        Self::new(|_, _| None)
    }

    /// One that does this with one command, and is polite with the others.
    pub fn at(command: u8, acts: Vec<Act>) -> Self {
        Self::new(move |said, _| (said == command).then(|| acts.clone()))
    }

    /// One that does this.
    pub fn new(manner: impl Fn(u8, &[u8]) -> Option<Vec<Act>> + Send + Sync + 'static) -> Self {
        let shared =
            Shared { manner: Arc::new(manner), told: Vec::new(), connections: 0, open: 0, open_max: 0 };
        let folder = Arc::new(tempfile::tempdir().expect("a temporary folder"));
        let milter = Self { shared: Arc::new(Mutex::new(shared)), folder };
        milter.listen(0, Duration::ZERO);
        milter
    }

    /// One that says `continue` to everything, and takes the first connection after this time. So many more
    /// may wait until then.
    pub fn late(waiting: i32, time: Duration) -> Self {
        let milter = Self::polite();
        std::fs::remove_file(milter.socket()).expect("a socket");
        milter.listen(waiting, time);
        milter
    }

    /// `waiting`: how many may wait to be taken; 0 for what is usual.
    fn listen(&self, waiting: i32, time: Duration) {
        let listener = UnixListener::bind(self.socket()).expect("a socket");
        if waiting > 0 {
            rustix::net::listen(&listener, waiting).expect("it listens");
        }
        let server = self.clone();
        std::thread::spawn(move || {
            std::thread::sleep(time);
            for stream in listener.incoming().flatten() {
                let server = server.clone();
                server.shared(|shared| {
                    shared.connections += 1;
                    shared.open += 1;
                    shared.open_max = shared.open_max.max(shared.open);
                });
                std::thread::spawn(move || {
                    server.serve(stream);
                    server.shared(|shared| shared.open -= 1);
                });
            }
        });
    }

    /// From now on it does this.
    pub fn does(&self, manner: impl Fn(u8, &[u8]) -> Option<Vec<Act>> + Send + Sync + 'static) {
        self.shared(|shared| shared.manner = Arc::new(manner));
    }

    /// Where it listens.
    pub fn socket(&self) -> PathBuf {
        self.folder.path().join("socket")
    }

    /// The commands that it was told so far, with their data.
    pub fn told(&self) -> Vec<(u8, Vec<u8>)> {
        self.shared(|shared| shared.told.clone())
    }

    /// The letters of these, without those of macros.
    pub fn commands(&self) -> String {
        let told = self.told();
        told.iter().map(|(command, _)| char::from(*command)).filter(|command| *command != 'D').collect()
    }

    /// Forgets what it was told.
    pub fn forget(&self) {
        self.shared(|shared| shared.told.clear());
    }

    /// Connections so far.
    pub fn connections(&self) -> usize {
        self.shared(|shared| shared.connections)
    }

    /// As many were open at a time.
    pub fn connections_max(&self) -> usize {
        self.shared(|shared| shared.open_max)
    }

    fn shared<T>(&self, with: impl FnOnce(&mut Shared) -> T) -> T {
        with(&mut self.shared.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn serve(&self, mut stream: impl Read + Write) {
        while let Some((command, data)) = read_packet(&mut stream) {
            let manner = self.shared(|shared| {
                shared.told.push((command, data.clone()));
                Arc::clone(&shared.manner)
            });
            for act in manner(command, &data).unwrap_or_else(|| polite(command)) {
                match act {
                    Act::Sends(octets) if stream.write_all(&octets).is_err() => return,
                    Act::Sends(_) => {}
                    Act::Waits(time) => std::thread::sleep(time),
                    Act::Closes => return,
                    Act::Hangs => loop {
                        std::thread::park();
                    },
                }
            }
        }
    }
}

/// A packet.
pub fn packet(code: u8, data: &[u8]) -> Vec<u8> {
    let length = u32::try_from(1 + data.len()).expect("a length");
    [&length.to_be_bytes()[..], &[code], data].concat()
}

/// It sends this packet.
pub fn says(code: u8, data: &[u8]) -> Act {
    Act::Sends(packet(code, data))
}

/// Its options in version 6: what it does (`SMFIF_`), and what it wants of the protocol (`SMFIP_`).
pub fn agrees(actions: u32, protocol: u32) -> Act {
    let words = [6, actions, protocol].map(u32::to_be_bytes);
    says(b'O', &words.concat())
}

/// `continue` to whatever has a reply.
pub fn polite(command: u8) -> Vec<Act> {
    match command {
        b'O' => vec![agrees(ACTIONS, 0)],
        b'D' | b'A' | b'Q' | b'K' => Vec::new(),
        _ => vec![says(b'c', b"")],
    }
}

fn read_packet(stream: &mut impl Read) -> Option<(u8, Vec<u8>)> {
    let mut length = [0; 4];
    stream.read_exact(&mut length).ok()?;
    let mut packet = vec![0; u32::from_be_bytes(length) as usize];
    stream.read_exact(&mut packet).ok()?;
    let command = packet.remove(0);
    Some((command, packet))
}
