//! What is said on standard error without the log's thread, by who ends the process or has no log.

use std::time::{Duration, SystemTime};

use crossbeam_channel::bounded;

use super::events::Event;
use super::lane::Chunk;
use super::level::Form;
use super::record::Record;
use crate::config::LogFormat;

/// Says one thing. Waits for as long as `within` until it is written; a reader that stands still loses it.
pub fn last_words(format: LogFormat, event: &'static Event, text: &str, within: Duration) {
    let mut chunk = Chunk::default();
    Record::begin(Form::on_stderr(format), &mut chunk, event, SystemTime::now())
        .text("text", text.as_bytes())
        .end();
    write_within(chunk.octets, within);
}

/// Writes on standard error by a thread that is left alone when it takes too long. It takes no lock: another
/// thread may stand in a write, and hold the one of the standard library for ever.
pub fn write_within(text: impl Into<Vec<u8>>, within: Duration) {
    let text = text.into();
    let (alive, ended) = bounded::<()>(0);
    let write = move || {
        let mut rest = text.as_slice();
        while !rest.is_empty() {
            match rustix::io::write(std::io::stderr(), rest) {
                Ok(count) => rest = rest.get(count..).unwrap_or_default(),
                Err(rustix::io::Errno::INTR) => {}
                // Nobody is left to tell that standard error is broken.
                Err(_) => break,
            }
        }
        drop(alive);
    };
    // Without a thread it stays unsaid: to write here could take for ever.
    if std::thread::Builder::new().name("last words".into()).spawn(write).is_ok() {
        let _ = ended.recv_timeout(within);
    }
}
