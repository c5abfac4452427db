//! The file in which it is kept across restarts which clients have proved good, and whom the greylist knows
//! (`early.state`).
//!
//! ```text
//!   magic 8 │ secret of the table 16 │ its buckets 8 │ count 8 │ clients, 16 each …
//!           │ secret of the greylist 16 │ its buckets 8 │ count 8 │ envelopes, 12 each …
//!           │ CRC-32C of all before 4
//! ```
//!
//! Where nobody is greylisted the second line is zeros.
//!
//! It is read before anybody listens, and written anew by a thread of its own, each minute in which something
//! has changed and at the end. A file that cannot be read is said once and ignored: without it clients have
//! to prove good again, and no mail is lost. Who reads the secret can choose networks that meet in one bucket
//! of the table: mode 0600.

use std::convert::Infallible;
use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use crossbeam_channel::{Receiver, RecvTimeoutError};
use rustix::fs::{AtFlags, CWD, Mode, OFlags};
use rustix::io::Errno;

use crate::front::clients::{Clients as Table, REMEMBERED_BYTES, Secret};
use crate::front::greylist::{self, Greylist};
use crate::limits::GREYLIST_PLACES;
use crate::sandbox::directory_of;
use crate::shard::clients::Clients;
use crate::sink::{Report, Site};
use crate::threads::give_way;

/// The last octet is the version.
const MAGIC: [u8; 8] = *b"RMXCLNT\x01";

/// Octets before the clients, and those before the envelopes.
const HEAD_BYTES: u64 = 8 + 32;
const GREYLIST_HEAD_BYTES: u64 = 32;
const SUM_BYTES: u64 = 4;

/// How often is looked whether anything has changed.
const WRITE_EVERY: Duration = Duration::from_mins(1);

/// What was found where the file should be.
pub(super) enum Found {
    /// What was remembered.
    State(State),
    /// No file: nothing was remembered yet.
    Nothing,
    /// A file that is of no use. The text says why, and what becomes of it.
    Unusable(String),
}

/// What was remembered.
pub(super) struct State {
    /// Of clients.
    pub(super) table: Table,
    /// The table's secret.
    pub(super) secret: Secret,
    /// Of envelopes, where there was a greylist of the size that it has now.
    pub(super) greylist: Option<Greylist>,
}

/// Where the greylist is, from when on somebody greylists.
pub(super) type GreylistPlace = Arc<OnceLock<Arc<Greylist>>>;

/// Reads the file into a table with so many places.
pub(super) fn read(path: &Path, places: usize) -> Found {
    match read_state(path, places) {
        Ok(state) => Found::State(state),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Found::Nothing,
        Err(error) => Found::Unusable(format!(
            "{}: what was known of clients cannot be read: {error}; they have to prove good again, and the file is written anew",
            path.display()
        )),
    }
}

fn read_state(path: &Path, places: usize) -> io::Result<State> {
    // What is no file must not keep the start waiting.
    let opened = rustix::fs::open(path, OFlags::RDONLY | OFlags::CLOEXEC | OFlags::NONBLOCK, Mode::empty())?;
    let file = File::from(opened);
    let facts = file.metadata()?;
    if !facts.is_file() {
        return Err(wrong("it is no file of clients"));
    }
    let mut file = Summed { inner: BufReader::new(file), sum: 0 };
    let magic: [u8; 8] = file.next()?;
    if magic != MAGIC {
        return Err(wrong("it is no file of clients, or of another version of ringmx"));
    }
    let secret: Secret = file.next()?;
    let table = Table::new(places, &secret);
    if u64::from_le_bytes(file.next()?) != table.buckets() {
        return Err(wrong("it is of a table of another size (limits.clients_max)"));
    }
    let clients = u64::from_le_bytes(file.next()?);
    // A count that is none ends with the file.
    for _ in 0..clients {
        // Of a client that is none the checksum tells.
        table.restore(file.next()?);
    }
    let (greylist, envelopes) = read_greylist(&mut file)?;
    let sum = file.sum;
    let bytes = HEAD_BYTES
        + clients * REMEMBERED_BYTES as u64
        + GREYLIST_HEAD_BYTES
        + envelopes * greylist::REMEMBERED_BYTES as u64
        + SUM_BYTES;
    if u32::from_le_bytes(file.next()?) != sum || facts.len() != bytes {
        return Err(wrong("it is damaged"));
    }
    Ok(State { table, secret, greylist })
}

/// Reads the greylist, and of how many envelopes it is. One of another size is passed over.
fn read_greylist(file: &mut Summed<impl Read>) -> io::Result<(Option<Greylist>, u64)> {
    let secret: Secret = file.next()?;
    let buckets = u64::from_le_bytes(file.next()?);
    let envelopes = u64::from_le_bytes(file.next()?);
    let new = (buckets > 0).then(|| Greylist::new(GREYLIST_PLACES, &secret));
    let greylist = new.filter(|new| new.buckets() == buckets);
    for _ in 0..envelopes {
        let octets = file.next()?;
        greylist.as_ref().map(|greylist| greylist.restore(octets));
    }
    Ok((greylist, envelopes))
}

fn wrong(why: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, why)
}

/// Octets on their way, with the checksum of those that went by.
struct Summed<T> {
    inner: T,
    sum: u32,
}

impl<T: Read> Summed<T> {
    fn next<const COUNT: usize>(&mut self) -> io::Result<[u8; COUNT]> {
        let mut octets = [0; COUNT];
        self.inner.read_exact(&mut octets)?;
        self.sum = crc32c::crc32c_append(self.sum, &octets);
        Ok(octets)
    }
}

impl<T: Write> Summed<T> {
    fn put(&mut self, octets: &[u8]) -> io::Result<()> {
        self.inner.write_all(octets)?;
        self.sum = crc32c::crc32c_append(self.sum, octets);
        Ok(())
    }
}

/// Writes the file.
pub(super) struct Keeper {
    pub(super) path: PathBuf,
    pub(super) secret: Secret,
    pub(super) clients: Arc<Clients>,
    pub(super) greylist: GreylistPlace,
    pub(super) report: Arc<dyn Report>,
}

impl Keeper {
    /// Writes what has changed, until the other end of `goes_on` is gone; then once more. At once, too: what
    /// is in the way is said at the start.
    pub(super) fn run(self, goes_on: &Receiver<Infallible>) {
        give_way();
        let mut written = None;
        let mut has_ended = false;
        loop {
            let sum = self.sum();
            if written != Some(sum) {
                match self.write() {
                    // What has changed meanwhile is written the next time.
                    Ok(()) => written = Some(sum),
                    Err(error) => self.report.machine_error(
                        "writing what is known of clients",
                        Site::Path(&self.path),
                        &error,
                    ),
                }
            }
            if has_ended {
                return;
            }
            // Nothing is ever sent.
            has_ended = goes_on.recv_timeout(WRITE_EVERY) == Err(RecvTimeoutError::Disconnected);
        }
    }

    /// Tells whether anything has changed.
    fn sum(&self) -> u32 {
        let clients = self.clients.table().remembered();
        let sum = clients.fold(0, |sum, client| crc32c::crc32c_append(sum, &client));
        let envelopes = self.greylist.get().into_iter().flat_map(|greylist| greylist.remembered());
        envelopes.fold(sum, |sum, envelope| crc32c::crc32c_append(sum, &envelope))
    }

    fn write(&self) -> io::Result<()> {
        write(&self.path, &self.secret, self.clients.table(), self.greylist.get().map(|greylist| &**greylist))
    }
}

/// Writes the file anew and puts it in the place of the one before, so that there is always a whole one.
fn write(path: &Path, secret: &Secret, table: &Table, greylist: Option<&Greylist>) -> io::Result<()> {
    let new = {
        let mut name = path.file_name().unwrap_or_default().to_owned();
        name.push(".new");
        path.with_file_name(name)
    };
    // Always a new file.
    match rustix::fs::unlinkat(CWD, &new, AtFlags::empty()) {
        Err(Errno::NOENT) | Ok(()) => {}
        Err(error) => return Err(error.into()),
    }
    let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    let file = File::from(rustix::fs::open(&new, flags, Mode::RUSR | Mode::WUSR)?);
    let mut out = Summed { inner: BufWriter::new(file), sum: 0 };
    out.put(&MAGIC)?;
    out.put(secret)?;
    out.put(&table.buckets().to_le_bytes())?;
    // Shards go on meanwhile, so what is counted is what is written.
    let clients: Vec<_> = table.remembered().collect();
    out.put(&(clients.len() as u64).to_le_bytes())?;
    clients.iter().try_for_each(|client| out.put(client))?;
    out.put(&greylist.map_or([0; 16], Greylist::secret))?;
    out.put(&greylist.map_or(0, Greylist::buckets).to_le_bytes())?;
    let envelopes: Vec<_> = greylist.into_iter().flat_map(Greylist::remembered).collect();
    out.put(&(envelopes.len() as u64).to_le_bytes())?;
    envelopes.iter().try_for_each(|envelope| out.put(envelope))?;
    let sum = out.sum;
    out.put(&sum.to_le_bytes())?;
    out.inner.into_inner().map_err(io::IntoInnerError::into_error)?.sync_all()?;
    std::fs::rename(&new, path)?;
    File::open(directory_of(path))?.sync_all()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;
    use std::time::{Instant, SystemTime};

    use super::*;
    use crate::front::clients::{Count, Limits};

    const PLACES: usize = 1024;
    const SECRET: Secret = [9; 16];

    struct Nobody;

    impl Report for Nobody {
        fn machine_error(&self, what: &str, _: Site<'_>, error: &io::Error) {
            panic!("{what}: {error}");
        }
    }

    /// Clients of which so many have had a message accepted.
    fn clients(known: u8) -> Arc<Clients> {
        let limits = Limits { connections_max: 50, rates: None, only_warn: false };
        let clients = Clients::new(Table::new(PLACES, &SECRET), limits);
        let now = clients.moment(Instant::now(), SystemTime::now());
        for host in 0..known {
            let seat = clients.enter([192, 0, 2, host].into(), now, |_| {});
            seat.expect("it may").expect("counted").note_message(now);
        }
        clients
    }

    /// A greylist that knows so many envelopes.
    fn greylist(known: u8) -> Greylist {
        let greylist = Greylist::new(GREYLIST_PLACES, &[4; 16]);
        for host in 0..known {
            let origin = greylist::Origin::Client([192, 0, host, 1].into());
            greylist.greet(origin, b"a@x.test", b"b@y.test", SystemTime::now());
        }
        greylist
    }

    fn read_all(path: &Path) -> Table {
        match read(path, PLACES) {
            Found::State(state) if state.secret == SECRET => state.table,
            Found::State(_) => panic!("another secret"),
            Found::Nothing => panic!("no file"),
            Found::Unusable(why) => panic!("{why}"),
        }
    }

    fn is_unusable(path: &Path, places: usize, why: &str) -> bool {
        matches!(read(path, places), Found::Unusable(text) if text.contains(why) && text.contains("prove good again"))
    }

    #[test]
    fn what_is_known_of_clients_comes_back_and_is_nobody_elses() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clients.state");
        assert!(matches!(read(&path, PLACES), Found::Nothing));
        write(&path, &SECRET, clients(40).table(), None).expect("written");
        let (all, again) = (read_all(&path).remembered().count(), read_all(&path).remembered().count());
        assert!((all, again) == (40, 40));
        let facts = std::fs::metadata(&path).expect("there");
        assert_eq!(
            (facts.permissions().mode() & 0o777, facts.len()),
            (0o600, HEAD_BYTES + 40 * 16 + GREYLIST_HEAD_BYTES + SUM_BYTES)
        );
        assert_eq!(std::fs::read_dir(folder.path()).expect("a folder").count(), 1, "nothing else is left");
    }

    #[test]
    fn what_the_greylist_knows_comes_back() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clients.state");
        let known = greylist(90);
        write(&path, &SECRET, clients(3).table(), Some(&known)).expect("written");
        let Found::State(State { table, greylist: Some(read_back), .. }) = read(&path, PLACES) else {
            panic!("it is there")
        };
        assert_eq!((table.remembered().count(), read_back.secret()), (3, [4; 16]));
        assert_eq!(
            read_back.remembered().collect::<Vec<_>>(),
            known.remembered().collect::<Vec<_>>(),
            "one a bucket, or in the order in which they came"
        );
    }

    #[test]
    fn a_file_that_is_broken_in_any_way_is_ignored_and_said() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clients.state");
        write(&path, &SECRET, clients(3).table(), Some(&greylist(2))).expect("written");
        assert!(is_unusable(&path, 4 * PLACES, "another size (limits.clients_max)"));
        let good = std::fs::read(&path).expect("there");
        for cut in 0..good.len() {
            std::fs::write(&path, &good[..cut]).expect("written");
            assert!(is_unusable(&path, PLACES, ""), "{cut} octets");
        }
        for place in 0..good.len() {
            let mut bad = good.clone();
            bad[place] ^= 0x40;
            std::fs::write(&path, &bad).expect("written");
            assert!(is_unusable(&path, PLACES, ""), "octet {place}");
        }
        std::fs::write(&path, [good.as_slice(), b"more"].concat()).expect("written");
        assert!(is_unusable(&path, PLACES, "damaged"));
        std::fs::remove_file(&path).expect("removed");
        std::fs::create_dir(&path).expect("made");
        assert!(is_unusable(&path, PLACES, "no file of clients"));
    }

    #[test]
    fn the_end_writes_what_is_known_and_a_left_over_file_is_no_obstacle() {
        let folder = tempfile::tempdir().expect("a folder");
        let path = folder.path().join("clients.state");
        std::fs::write(folder.path().join("clients.state.new"), "of a process that was killed")
            .expect("written");
        let clients = clients(2);
        let place = GreylistPlace::default();
        let keeper = Keeper {
            path: path.clone(),
            secret: SECRET,
            clients: Arc::clone(&clients),
            greylist: Arc::clone(&place),
            report: Arc::new(Nobody),
        };
        let (hold, goes_on) = crossbeam_channel::bounded(0);
        let thread = std::thread::spawn(move || keeper.run(&goes_on));
        while !path.exists() {
            std::thread::yield_now();
        }
        let now = clients.moment(Instant::now(), SystemTime::now());
        let seat = clients.enter([198, 51, 100, 1].into(), now, |_| {}).expect("it may").expect("counted");
        seat.note_message(now);
        // Somebody greylists from now on.
        assert!(place.set(Arc::new(greylist(7))).is_ok());
        drop(hold);
        thread.join().expect("no panic");
        let table = read_all(&path);
        assert_eq!(table.count(now), Count { networks: 3, proven: 0 });
        let Found::State(State { greylist: Some(greylist), .. }) = read(&path, PLACES) else {
            panic!("none")
        };
        assert_eq!(greylist.remembered().count(), 7);
    }
}
