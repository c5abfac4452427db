//! What RCPT takes can be stored: the policy and the store decide together, before the 250 to RCPT. Random
//! configurations over stores in every state, with the session in memory and a real maildir below a temporary
//! directory; then a real server.

mod world;

use std::fmt::Write;
use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::Path;
use std::sync::Arc;

use proptest::prelude::*;
use proptest::test_runner::FileFailurePersistence;
use ringmx::config::{self, Config, Places};
use ringmx::mail::envelope::Mailbox;
use ringmx::mail::outcome::{Outcome, TryAgain};
use ringmx::shard::mailboxes::verdict_of;
use ringmx::sink::mailbox::Mailboxes;
use ringmx::sink::{self, Opened, Report, Surroundings};
use ringmx::smtp::policy::{Policy, Recipients, Verdict};
use ringmx::smtp::settings::Settings;
use rustix::fs::IFlags;

use self::world::{World, load, put, world};
use support::client::Client;
use support::exchange::{self, Exchange, Store};
use support::server::Server;
use support::sink::{Reports, Sent, store};

/// The sink, as `serve` opens it, with the policy of the sessions.
fn open(config: &Config, reports: &Arc<Reports>) -> (Opened, Arc<Recipients>) {
    let (lists, _) =
        config::read_lists(config, &Places::default(), |_| Box::new(|_| None), None).expect("good lists");
    let table = Arc::new(lists.into_table(config));
    let named = Arc::clone(&table);
    let surroundings = Surroundings {
        hostname: config.hostname.clone(),
        local_part_case_sensitive: config.local_part_case_sensitive,
        recipient_delimiter: config.recipient_delimiter,
        report: Arc::clone(reports) as Arc<dyn Report>,
        spool: Arc::default(),
        is_named: Arc::new(move |mailbox| named.is_named(mailbox)),
    };
    (sink::open(&config.sink, &surroundings).unwrap_or_else(|error| panic!("{error}")), table)
}

/// What a shard is told of recipients.
fn keeper(opened: &mut Opened, policy: Arc<Recipients>) -> Store {
    let Some(Mailboxes { naming, make_keeper }) = opened.mailboxes.take() else {
        return Box::new(|_| Verdict::Accept);
    };
    let mut keeper = make_keeper().expect("a keeper");
    Box::new(move |recipient| {
        let place = naming.place(recipient, &|mailbox| policy.is_named(mailbox));
        place.map_or(Verdict::Unstorable, |place| verdict_of(keeper.look(&place), false))
    })
}

/// A session that sends MAIL, a RCPT for each, DATA and a body, and what it stored.
fn send(world: &World, config: &Config, policy: Arc<Recipients>, store: Store) -> Exchange {
    let settings = Settings {
        policy,
        hostname: config.hostname.clone(),
        limits: config.limits.clone(),
        local_part_case_sensitive: config.local_part_case_sensitive,
        ..exchange::settings()
    };
    let mut exchange = Exchange::new(settings);
    exchange.store = store;
    exchange.receive(b"EHLO client.test\r\n");
    exchange.receive(b"MAIL FROM:<a@client.test>\r\n");
    for recipient in &world.rcpt {
        exchange.receive(format!("RCPT TO:<{recipient}>\r\n").as_bytes());
    }
    let before = exchange.seen.replies.len();
    exchange.receive(b"DATA\r\n");
    if exchange.seen.replies[before..].starts_with(b"354") {
        exchange.receive(b"Subject: x\r\n\r\nx\r\n.\r\n");
    }
    exchange
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: ProptestConfig::default().cases.max(400),
        failure_persistence: Some(Box::new(FileFailurePersistence::WithSource("regressions"))),
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_recipient_that_was_taken_is_never_why_a_message_is_not_stored(world in world()) {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let outside = tempfile::tempdir().expect("a temporary directory");
        let root = folder.path().join("store");
        fs::create_dir(&root).expect("a directory");
        for (domain, local_part, there) in &world.there {
            put(&root, outside.path(), domain, local_part, *there);
        }
        let before = fs::read_dir(outside.path()).expect("a directory").count();
        let config = load(&world, folder.path());
        let reports = Arc::default();
        let (mut opened, policy) = open(&config, &reports);
        let says = keeper(&mut opened, Arc::clone(&policy));
        let exchange = send(&world, &config, policy, says);
        let mut sink = (opened.workers.remove(0))().expect("a sink");
        for stored in &exchange.seen.stored {
            let mut sent = Sent::new(1, stored.data.clone());
            sent.recipients = stored
                .recipients
                .iter()
                .map(|whole| {
                    let at = whole.iter().rposition(|octet| *octet == b'@').expect("a mailbox");
                    (whole[..at].to_vec(), &*Box::leak(whole[at + 1..].to_vec().into_boxed_slice()))
                })
                .collect();
            let outcomes = store(&mut *sink, &[sent]);
            prop_assert_eq!(outcomes, vec![Outcome::Stored], "{:?}", reports.take());
        }
        prop_assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), before);
        // Whoever is named and can be named in the store, and for whom nothing is in the way, is taken.
        let replies = String::from_utf8_lossy(&exchange.seen.replies).into_owned();
        if world.there.is_empty() && world.rcpt.contains(&"postmaster@x.test") {
            prop_assert!(replies.contains("250 2.1.5"), "{replies}");
        }
    }
}

/// What a look cannot see shows when a delivery fails: then that mailbox is refused at RCPT, and others have
/// their mail.
#[test]
fn a_mailbox_that_a_delivery_failed_in_is_refused_for_a_while_and_others_are_not() {
    let folder = tempfile::tempdir().expect("a temporary directory");
    let world = World {
        template: "{local}",
        create: true,
        case_sensitive: false,
        sync: "",
        delimiter: "",
        aliases: None,
        domains: "\"x.test\"",
        recipients: None,
        there: Vec::new(),
        rcpt: Vec::new(),
    };
    let config = load(&world, folder.path());
    let reports: Arc<Reports> = Arc::default();
    let (mut opened, policy) = open(&config, &reports);
    let mut says = keeper(&mut opened, policy);
    let mut sink = (opened.workers.remove(0))().expect("a sink");
    let mailbox = |local_part: &'static str| Mailbox {
        local_part: local_part.as_bytes(),
        domain: b"x.test",
        whole: b"",
    };
    fs::create_dir_all(folder.path().join("store/anna/tmp")).expect("a directory");
    fs::create_dir_all(folder.path().join("store/anna/new")).expect("a directory");
    assert_eq!(says(mailbox("anna")), Verdict::Accept);
    let new = folder.path().join("store/anna/new");
    fs::rename(&new, folder.path().join("aside")).expect("moved");
    fs::write(&new, "in the way").expect("a file");
    let both = store(&mut *sink, &[Sent::new(2, "x").to(&["bob", "anna"])]);
    assert_eq!(both, [Outcome::TryAgain(TryAgain::Local)]);
    // Mended, but nobody can see that but by trying again.
    fs::remove_file(&new).expect("removed");
    fs::rename(folder.path().join("aside"), &new).expect("moved back");
    assert_eq!(says(mailbox("anna")), Verdict::TryAgain);
    assert_eq!(says(mailbox("bob")), Verdict::Accept);
    assert_eq!(store(&mut *sink, &[Sent::new(3, "x").to(&["bob"])]), [Outcome::Stored]);
}

/// A server with this sink, and these files beside its configuration.
fn serve(sink: &str, files: &[(&str, &str)], before: impl FnOnce(&Path)) -> (Server, tempfile::TempDir) {
    let place = tempfile::tempdir().expect("a temporary directory");
    before(place.path());
    let recipients = if files.is_empty() { "" } else { "recipients = \"recipients.txt\"\n" };
    let config = format!(
        "hostname = \"mx.cat.test\"\ndomains = [\"cat.test\"]\n{recipients}[[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"maildir\"\npath = \"{}\"\n{sink}",
        place.path().display()
    );
    (Server::start_with_files(&config, files), place)
}

fn rcpt(client: &mut Client, mailbox: &str, expected: &str) {
    client.command(&format!("RCPT TO:<{mailbox}>"), expected);
}

fn finish(client: &mut Client, expected: &str) {
    client.command("DATA", "354");
    client.send(b"Subject: x\r\n\r\nx\r\n.\r\n");
    client.expect(expected);
}

fn stored_in(maildir: &Path) -> usize {
    fs::read_dir(maildir.join("new")).map_or(0, Iterator::count)
}

#[test]
fn a_catch_all_without_create_takes_only_maildirs_that_exist() {
    let files = [("recipients.txt", "@cat.test\nanna@cat.test\n")];
    let (server, place) = serve("template = \"{domain}/{local}\"\n", &files, |store| {
        for folder in ["tmp", "new", "cur"] {
            fs::create_dir_all(store.join("cat.test/old").join(folder)).expect("a maildir");
        }
    });
    assert!(server.log().iter().any(|line| line.contains("create")), "{:?}", server.log());
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@client.example>", "250");
    rcpt(&mut client, "new@cat.test", "550 5.1.1");
    rcpt(&mut client, "old@cat.test", "250 2.1.5");
    rcpt(&mut client, "anna@cat.test", "250 2.1.5");
    rcpt(&mut client, "Postmaster@cat.test", "250 2.1.5");
    rcpt(&mut client, "postmaster", "250 2.1.5");
    finish(&mut client, "250 2.0.0");
    for mailbox in ["old", "anna", "postmaster"] {
        assert_eq!(stored_in(&place.path().join("cat.test").join(mailbox)), 1, "{mailbox}");
    }
    assert!(!place.path().join("cat.test/new").exists());
}

#[test]
fn nobody_beside_existing_maildirs_is_taken_without_recipients_and_create() {
    let (server, place) = serve("template = \"{local}\"\n", &[], |_| {});
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@client.example>", "250");
    rcpt(&mut client, "anna@cat.test", "550 5.1.1");
    // A maildir that is made while ringmx runs is seen.
    for folder in ["tmp", "new", "cur"] {
        fs::create_dir_all(place.path().join("anna").join(folder)).expect("a maildir");
    }
    rcpt(&mut client, "anna@cat.test", "250 2.1.5");
    finish(&mut client, "250 2.0.0");
    assert_eq!(stored_in(&place.path().join("anna")), 1);
}

#[test]
fn links_and_names_that_are_too_long_are_refused_at_rcpt_and_said_once() {
    let outside = tempfile::tempdir().expect("a temporary directory");
    let (server, place) = serve("template = \"{domain}/{local}\"\ncreate = true\n", &[], |store| {
        fs::create_dir(store.join("cat.test")).expect("a directory");
        symlink(outside.path(), store.join("cat.test/link")).expect("a link");
    });
    let mut client = Client::greeted(server.address());
    for _ in 0..3 {
        client.command("MAIL FROM:<a@client.example> SMTPUTF8", "250");
        rcpt(&mut client, "link@cat.test", "451 4.3.0");
        rcpt(&mut client, &format!("{}@cat.test", "é".repeat(60)), "550 5.1.3");
        rcpt(&mut client, &format!("{}@cat.test", "'".repeat(90)), "550 5.1.3");
        rcpt(&mut client, "anna@cat.test", "250 2.1.5");
        finish(&mut client, "250 2.0.0");
    }
    assert_eq!(stored_in(&place.path().join("cat.test/anna")), 3);
    assert_eq!(fs::read_dir(outside.path()).expect("a directory").count(), 0);
    server.wait_for_log(|line| line.contains("symbolic link"));
    let told = server.log().iter().filter(|line| line.contains("symbolic link")).count();
    assert_eq!(told, 1, "{:?}", server.log());
}

#[test]
fn a_mailbox_that_cannot_be_written_is_refused_beside_one_that_can() {
    // For root every directory can be written.
    let (server, place) = serve("template = \"{local}\"\ncreate = true\n", &[], |store| {
        fs::create_dir_all(store.join("shut/tmp")).expect("a directory");
        fs::write(store.join("shut/new"), "").expect("a file in the way");
        if !rustix::process::geteuid().is_root() {
            fs::create_dir_all(store.join("locked/tmp")).expect("a directory");
            fs::create_dir_all(store.join("locked/new")).expect("a directory");
            let none = fs::Permissions::from_mode(0o500);
            fs::set_permissions(store.join("locked/tmp"), none).expect("permissions");
        }
    });
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@client.example>", "250");
    rcpt(&mut client, "shut@cat.test", "451 4.3.0");
    if !rustix::process::geteuid().is_root() {
        rcpt(&mut client, "locked@cat.test", "451 4.3.0");
    }
    rcpt(&mut client, "anna@cat.test", "250 2.1.5");
    finish(&mut client, "250 2.0.0");
    assert_eq!(stored_in(&place.path().join("anna")), 1);
}

/// A directory says EPERM to it, as a sandbox does to a question that it forbids.
#[test]
fn a_mailbox_that_nobody_may_change_is_refused_beside_one_that_can_be_used() {
    let set_flags = |path: &Path, flags| {
        let directory = fs::File::open(path).expect("a directory");
        rustix::fs::ioctl_setflags(directory, flags)
    };
    let mut skipped = None;
    let (server, place) = serve("template = \"{local}\"\ncreate = true\n", &[], |store| {
        fs::create_dir_all(store.join("shut/tmp")).expect("a directory");
        fs::create_dir_all(store.join("shut/new")).expect("a directory");
        skipped = set_flags(&store.join("shut/tmp"), IFlags::IMMUTABLE).err();
    });
    if let Some(why) = skipped {
        println!("skipped: no directory can be made immutable here: {why}");
        return;
    }
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@client.example>", "250");
    client.send(b"RCPT TO:<shut@cat.test>\r\n");
    let reply = client.reply();
    set_flags(&place.path().join("shut/tmp"), IFlags::empty()).expect("mutable again");
    assert!(reply.starts_with("451 4.3.0"), "{reply}");
    rcpt(&mut client, "anna@cat.test", "250 2.1.5");
    finish(&mut client, "250 2.0.0");
    server.wait_for_log(|line| line.contains("shut/tmp") && line.contains("chattr -i"));
}

#[test]
fn a_mailbox_on_another_mount_is_refused_at_rcpt_where_one_sync_covers_the_root() {
    let place = tempfile::tempdir().expect("a temporary directory");
    fs::create_dir_all(place.path().join("cat.test/mount")).expect("a directory");
    fs::create_dir_all(place.path().join("cat.test/half/new")).expect("a directory");
    let script = "mount -t tmpfs none \"$0/cat.test/mount\" && mount -t tmpfs none \"$0/cat.test/half/new\" && exec \"$@\"";
    let store = place.path().to_str().expect("a path");
    let wrapper = ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, store];
    let can = std::process::Command::new(wrapper[0]).args(&wrapper[1..]).arg("true").status();
    if !can.is_ok_and(|status| status.success()) {
        println!("skipped: no mount namespace of a user's own here (unshare --user --mount)");
        return;
    }
    for (sync, on_mount) in [("batch", "451 4.3.0"), ("each", "250 2.1.5")] {
        let config = format!(
            "hostname = \"mx.cat.test\"\ndomains = [\"cat.test\"]\n[[listener]]\naddress = \"127.0.0.1:0\"\n\
             [[sink]]\nkind = \"maildir\"\npath = \"{store}\"\ntemplate = \"{{domain}}/{{local}}\"\n\
             create = true\nsync = \"{sync}\"\n"
        );
        let server = Server::start_under(&wrapper, &config, &[]);
        let mut client = Client::greeted(server.address());
        client.command("MAIL FROM:<a@client.example>", "250");
        rcpt(&mut client, "mount@cat.test", on_mount);
        // Mail cannot be renamed into it.
        rcpt(&mut client, "half@cat.test", "451 4.3.0");
        rcpt(&mut client, "anna@cat.test", "250 2.1.5");
        finish(&mut client, "250 2.0.0");
        server.wait_for_log(|line| line.contains("one mount") || line.contains("mount point"));
    }
    assert_eq!(stored_in(&place.path().join("cat.test/anna")), 2);
}

#[test]
fn no_recipient_meets_a_file_of_ours() {
    let (server, place) = serve("template = \".{local}\"\ncreate = true\n", &[], |_| {});
    let mut client = Client::greeted(server.address());
    client.command("MAIL FROM:<a@client.example>", "250");
    for own in ["ringmx.lock", "RINGMX.LOCK", "ringmx-marker-0", "ringmx-spill-00"] {
        rcpt(&mut client, &format!("{own}@cat.test"), "550 5.1.3");
    }
    rcpt(&mut client, "anna@cat.test", "250 2.1.5");
    finish(&mut client, "250 2.0.0");
    assert_eq!(stored_in(&place.path().join(".anna")), 1);
}

#[test]
fn pipelined_recipients_are_answered_in_their_order() {
    let (server, _place) = serve("template = \"{local}\"\ncreate = true\n", &[], |_| {});
    let mut client = Client::greeted(server.address());
    let long = "'".repeat(90);
    let mut group = String::from("MAIL FROM:<a@client.example>\r\n");
    for number in 0..50 {
        let _ = write!(group, "RCPT TO:<u{number}@cat.test>\r\nRCPT TO:<{long}@cat.test>\r\n");
    }
    client.send(group.as_bytes());
    client.expect("250 2.1.0");
    let mut refused = 0;
    for _ in 0..50 {
        client.expect("250 2.1.5");
        let reply = client.reply();
        if reply.starts_with("421") {
            break;
        }
        assert!(reply.starts_with("550 5.1.3"), "{reply}");
        refused += 1;
    }
    assert_eq!(refused, 20, "the budget for errors");
}
