//! Under load the receiver is killed (`kill -9`) at random moments and started again on the same store,
//! several times; then the ledger of what was sent is compared with the store: nothing accepted is lost or
//! altered, nothing else is visible.
//!
//! `CRASH_SEED` repeats the choices of a run, `CRASH_ROUNDS` sets the number of kills.

use std::process::{Command, Stdio};
use std::time::Duration;

use support::load::{Random, bytes_of, loadgen, number_from, verify, wait_for_load};
use support::server::Server;

/// Kills of each store unless told otherwise.
const ROUNDS_DEFAULT: u64 = 4;

#[test]
fn a_maildir_keeps_its_promise_when_the_receiver_is_killed() {
    crash("maildir", "");
}

#[test]
fn maildirs_of_recipients_keep_their_promise_when_the_receiver_is_killed() {
    crash("maildir", "template = \"{domain}/{local}\"\ncreate = true");
}

#[test]
fn a_spool_keeps_its_promise_when_the_receiver_is_killed() {
    crash("spool", "segment_size = \"1MiB\"");
}

fn crash(kind: &str, more: &str) {
    let mut random = Random::from_variable("CRASH_SEED");
    let rounds = number_from("CRASH_ROUNDS").unwrap_or(ROUNDS_DEFAULT);
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (store, ledger) = (folder.path().join("store"), folder.path().join("ledger"));
    let config = format!(
        "hostname = \"mx.example.test\"\ndomains = [\"example.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"{kind}\"\npath = \"{}\"\n{more}\n[log]\nmessages = false",
        store.display()
    );
    for round in 1..=rounds {
        let mut server = Server::start_whole(&config);
        let arguments = load(&mut random);
        let after = Duration::from_millis(random.below(800));
        println!("{kind}, round {round}: {arguments}, killed after {after:?}");
        let mut command = Command::new(loadgen());
        command.arg(server.address().to_string()).args(arguments.split(' ')).arg("--ledger").arg(&ledger);
        command.stdout(Stdio::null()).stderr(Stdio::null());
        let ledger_bytes = bytes_of(&ledger);
        let mut load = command.spawn().expect("loadgen runs");
        wait_for_load(&ledger, ledger_bytes);
        std::thread::sleep(after);
        server.signal(rustix::process::Signal::KILL);
        server.wait();
        // It finds nobody there and gives up.
        load.wait().expect("loadgen ends");
        // What the next start repairs or removes is part of the promise.
        let _recovered = Server::start_whole(&config);
        let verdict = verify(&ledger, kind, &store, &["--no-duplicates"]);
        if !verdict.holds {
            let kept = folder.keep();
            panic!("{}\nkept in {}", verdict.text, kept.display());
        }
        if round == rounds {
            println!("{}", verdict.text);
            assert!(verdict.accepted > 0, "the kills came under load:\n{}", verdict.text);
        }
    }
}

/// A load that lasts until the receiver is gone.
fn load(random: &mut Random) -> String {
    let mut one_of = |choices: &[&'static str]| {
        choices[usize::try_from(random.below(choices.len() as u64)).expect("small")]
    };
    let size = one_of(&["700", "4KiB", "4KiB", "70KiB", "600KiB", "3MiB"]);
    let connections = if size.ends_with("0KiB") || size.ends_with("MiB") { "4" } else { "30" };
    let recipients = one_of(&["1", "1", "3"]);
    let session = one_of(&["", " --pipelining", " --per-connection 2"]);
    format!(
        "--duration 60s --to user@example.test --connections {connections} --size {size} --recipients {recipients}{session}"
    )
}
