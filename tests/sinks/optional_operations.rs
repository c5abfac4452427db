//! File systems and sandboxes that lack an operation which ours have: mail is stored all the same, or the
//! start says why not.
//!
//! What a FUSE server is asked for is answered by one (`support/faulty.rs`); what never reaches it is
//! answered by a seccomp filter (`support/forbidden.rs`) that the whole program runs under.

use std::fs;
use std::os::fd::OwnedFd;
use std::path::Path;
use std::rc::Rc;

use ringmx::config::LineEndings;
use ringmx::mail::queue_id::QueueId;
use ringmx::sink::executor::Executor;
use ringmx::sink::executor::blocking::Blocking;
use ringmx::sink::plan::{Action, FilePath, Owners, Plan};
use ringmx::sink::spool::cursor::{Cursor, read_consumed};
use ringmx::sink::spool::export::{Target, export};
use ringmx::sink::spool::prune::prune;
use ringmx::sink::spool::reader;
use support::client::Client;
use support::faulty::{Fault, Faulty, Operation};
use support::forbidden::Forbidden;
use support::image;
use support::server::Server;
use support::sink::Sent;
use support::sink::contract::{self, batches, maildir_kind};

/// How it is said that there is no such operation.
const LACKS: [i32; 4] = [libc::EINVAL, libc::ENOSYS, libc::EOPNOTSUPP, libc::EPERM];

/// Each operation, whether there is a way round, and what the start says where there is none.
const OPERATIONS: [(Operation, Option<&str>); 8] = [
    (Operation::RenameWithoutReplacing, None),
    (Operation::Link, None),
    (Operation::Reserve, None),
    (Operation::RenameWithoutReplacingAndLink, Some("neither rename without replacing nor link")),
    (Operation::Rename, None),
    (Operation::SyncFile, Some("fuse cannot sync a file or directory there")),
    (Operation::SyncDirectory, Some("fuse cannot sync the directory")),
    (Operation::Lock, Some("fuse cannot lock files")),
];

/// A store on a file system that lacks something.
fn on_faulty(fault: Fault, try_it: impl FnOnce(&Path)) {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let (behind, front) = (folder.path().join("behind"), folder.path().join("front"));
    let disk = Faulty::mount_with(&behind, &front, true, fault).expect("a FUSE file system");
    try_it(&front.join("store"));
    if let Fault::Lacks(..) = fault {
        assert!(disk.met() > 0, "{fault:?} was never met");
    }
}

#[test]
fn what_a_file_system_lacks_is_done_in_another_way_or_stops_the_start() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    // Without the 256 and the large ones: this is no test of speed.
    let batches: Vec<Vec<Sent>> =
        batches().into_iter().filter(|batch| batch.len() < 100).map(without_large).collect();
    for (operation, why_not) in OPERATIONS {
        for number in LACKS {
            let fault = Fault::Lacks(operation, number);
            let judge = |kind: &str, result: Result<(), String>| match (result, why_not) {
                (Ok(()), None) => {}
                // The kernel takes a sync that is not there for one that has nothing to do.
                (Ok(()), Some(_)) if number == libc::ENOSYS && says_nothing(operation) => {}
                (Err(error), Some(why)) => {
                    assert!(error.contains(why) && error.contains("store"), "{kind}, {fault:?}: {error}");
                }
                (result, _) => panic!("{kind}, {fault:?}: {result:?}"),
            };
            on_faulty(fault, |path| {
                let kind = maildir_kind(path, "{domain}/{local}", LineEndings::Lf);
                let opened = contract::maildir(path, kind, &batches);
                judge("maildir", opened.map(drop).map_err(|error| error.to_string()));
                // A spool on a FUSE server that cannot link keeps large messages in segments.
                let spool = contract::spool(&path.with_file_name("spool-store"), &batches);
                judge("spool", spool.map_err(|error| error.to_string()));
            });
        }
    }
}

fn without_large(batch: Vec<Sent>) -> Vec<Sent> {
    batch.into_iter().filter(|sent| sent.data.len() < 1 << 20).collect()
}

fn says_nothing(operation: Operation) -> bool {
    matches!(operation, Operation::SyncFile | Operation::SyncDirectory)
}

#[test]
fn a_rename_that_is_a_link_never_replaces_and_leaves_one_name() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    on_faulty(Fault::Lacks(Operation::RenameWithoutReplacing, libc::EINVAL), |path| {
        fs::create_dir(path).expect("a folder");
        let root: OwnedFd = fs::File::open(path).expect("a folder").into();
        let mut executor = Blocking::new(root);
        fs::write(path.join("a"), "a").expect("a file");
        fs::write(path.join("b"), "b").expect("a file");
        let place = |name: &str| Rc::new(FilePath { directory: Rc::from(""), name: name.to_owned() });
        let mut rename = |from, to| {
            let mut plan = Plan::new(1);
            plan.push(Owners::One(0), Action::Rename(place(from), place(to)));
            executor.run(&plan).error(0).map(std::io::Error::kind)
        };
        assert_eq!(rename("a", "b"), Some(std::io::ErrorKind::AlreadyExists));
        assert_eq!(rename("none", "c"), Some(std::io::ErrorKind::NotFound));
        assert_eq!(rename("a", "c"), None);
        assert!(!path.join("a").exists());
        assert_eq!(fs::read(path.join("b")).expect("a file"), b"b");
        assert_eq!(fs::read(path.join("c")).expect("a file"), b"a");
    });
}

#[test]
fn a_spool_is_exported_and_pruned_where_a_rename_may_replace_only() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    on_faulty(Fault::Lacks(Operation::RenameWithoutReplacing, libc::EINVAL), |path| {
        let sent: Vec<Sent> = (1..4).map(|number| Sent::new(number, "x\r\n")).collect();
        contract::spool(path, std::slice::from_ref(&sent)).expect("a spool");
        let beside = |name: &str| path.with_file_name(name);
        let targets = [
            Target::Maildir(beside("maildir"), LineEndings::Lf),
            Target::Eml(beside("eml")),
            Target::Mbox(beside("mbox"), LineEndings::Lf),
        ];
        for target in targets {
            let exported = export(path, None, &target).expect("exported");
            assert_eq!((exported.new, exported.already, exported.notes.problems), (3, 0, 0), "{target:?}");
        }
        assert_eq!(fs::read_dir(beside("maildir").join("tmp")).expect("tmp").count(), 0);
        let mut last: Option<(Cursor, QueueId)> = None;
        reader::for_each_record(path, None, &mut reader::Notes::default(), |segment, record, envelope| {
            last = Some((segment.cursor(record), envelope.id));
            Ok(())
        })
        .expect("a spool");
        let (cursor, id) = last.expect("a record");
        assert_eq!(id, sent[2].id);
        assert_eq!(prune(path, cursor).expect("pruned").records, 3);
        assert_eq!(read_consumed(path).expect("readable"), Some(cursor));
    });
}

#[test]
fn an_export_to_where_nothing_can_be_made_durable_names_the_directory() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    let spool = tempfile::tempdir().expect("a folder");
    contract::spool(spool.path(), &[vec![Sent::new(1, "x\r\n")]]).expect("a spool");
    on_faulty(Fault::Lacks(Operation::SyncDirectory, libc::EINVAL), |path| {
        let error = export(spool.path(), None, &Target::Eml(path.to_owned())).expect_err("it cannot");
        assert!(error.to_string().contains("front"), "{error}");
    });
}

/// A seccomp filter that forbids what ext4 has: in the whole program, with each way to write.
#[test]
fn what_a_sandbox_forbids_is_done_in_another_way_or_stops_the_start() {
    const SINKS: [&str; 4] = [
        "kind = \"maildir\"\npath = \"store\"\ntemplate = \"{domain}/{local}\"\ncreate = true\nsync = \"each\"",
        "kind = \"maildir\"\npath = \"store\"\ntemplate = \"{domain}/{local}\"\ncreate = true",
        "kind = \"spool\"\npath = \"store\"\nsegment_size = \"1MiB\"",
        "kind = \"stdout\"",
    ];
    for (index, forbidden) in Forbidden::optional().into_iter().enumerate() {
        for (turn, sink) in SINKS.into_iter().enumerate() {
            let number = [libc::ENOSYS, libc::EPERM][(index + turn) % 2];
            let what = format!("{forbidden:?}, {number}, {sink}");
            let config = format!(
                "hostname = \"mx.example.test\"\n[[listener]]\naddress = \"127.0.0.1:0\"\n[shards]\ncpus = [0]\n\
                 [[sink]]\n{sink}\n"
            );
            let started = Server::try_start(&config, |command| forbidden.forbid(command, number));
            // There is no store to lock on standard output.
            match (started, forbidden.why_not.filter(|_| sink.contains("path"))) {
                (Ok(server), None) => takes_small_and_large(&server, &what),
                (Err(log), Some(why)) => assert!(log.contains(why), "{what}: {log}"),
                (Ok(_), Some(why)) => panic!("{what}: it starts without saying {why}"),
                (Err(log), None) => panic!("{what}: {log}"),
            }
        }
    }
}

fn takes_small_and_large(server: &Server, what: &str) {
    let mut client = Client::greeted(server.address());
    for data in [b"Subject: x\r\n\r\ntext\r\n".to_vec(), b"text\r\n".repeat(1_000_000)] {
        let reply = client.deliver("a@x.test", "b@y.test", &data);
        assert!(reply.starts_with("250"), "{what}: {reply}\n{}", server.log().join("\n"));
    }
}

/// All that a 250 to RCPT rests on, where nothing that is optional is there, neither in the file system nor
/// in the sandbox, but the link that a rename is made of.
#[test]
fn recipients_have_maildirs_of_their_own_where_all_that_is_optional_is_missing() {
    if image::unavailable(&["mount"]).is_some() {
        return;
    }
    for (sync, number) in [("each", libc::ENOSYS), ("each", libc::EPERM)] {
        on_faulty(Fault::Lacks(Operation::RenameWithoutReplacing, libc::EINVAL), |store| {
            let inside = |name: &str| store.join("x.test").join(name);
            for maildir in ["there", "jos%C3%A9"] {
                fs::create_dir_all(inside(maildir).join("tmp")).expect("a folder");
                fs::create_dir(inside(maildir).join("new")).expect("a folder");
            }
            fs::create_dir(inside("outside")).expect("a folder");
            let config = format!(
                "hostname = \"mx.example.test\"\ndomains = [\"x.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
                 [shards]\ncpus = [0]\n[[sink]]\nkind = \"maildir\"\npath = \"{}\"\ntemplate = \"{{domain}}/{{local}}\"\n\
                 sync = \"{sync}\"\n",
                store.display()
            );
            let server = Server::try_start(&config, |command| {
                let is_optional =
                    |forbidden: &Forbidden| forbidden.why_not.is_none() && forbidden.name != "linkat";
                for forbidden in Forbidden::optional().into_iter().filter(is_optional) {
                    forbidden.forbid(command, number);
                }
            })
            .unwrap_or_else(|log| panic!("{log}"));
            let mut client = Client::greeted(server.address());
            client.command("MAIL FROM:<a@y.test> SMTPUTF8", "250");
            for (local_part, expected) in [
                ("there", "250"),
                ("JOSE\u{301}", "250"),
                ("jos\u{e9}", "250"),
                ("nobody", "550 5.1.1"),
                ("outside", "451 4.3.0"),
                ("POSTmaster", "250"),
                ("postmaster", "250"),
            ] {
                client.command(&format!("RCPT TO:<{local_part}@x.test>"), expected);
            }
            client.command("DATA", "354");
            client.send(b"Subject: x\r\n\r\n.\r\n");
            client.expect("250");
            for maildir in ["there", "jos%C3%A9", "postmaster"] {
                let files = fs::read_dir(inside(maildir).join("new")).expect("a maildir").count();
                assert_eq!(files, 1, "{maildir}");
                assert_eq!(fs::read_dir(inside(maildir).join("tmp")).expect("a maildir").count(), 0);
            }
        });
    }
}
