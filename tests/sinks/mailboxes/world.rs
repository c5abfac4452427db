//! Configurations at random, and what stands in their stores before the first mail.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use ringmx::config::{self, Config};

/// What may be in the way, or ready, for a mailbox below the store.
#[derive(Debug, Clone, Copy)]
pub(super) enum There {
    Nothing,
    DomainOnly,
    Maildir,
    WithoutNew,
    WithoutTmp,
    NotAMaildir,
    File,
    DomainIsAFile,
    Link,
    DomainIsALink,
    NewIsALink,
    TmpIsAFile,
    DanglingLink,
}

const ALL: [There; 13] = [
    There::Nothing,
    There::DomainOnly,
    There::Maildir,
    There::WithoutNew,
    There::WithoutTmp,
    There::NotAMaildir,
    There::File,
    There::DomainIsAFile,
    There::Link,
    There::DomainIsALink,
    There::NewIsALink,
    There::TmpIsAFile,
    There::DanglingLink,
];

/// Puts it there, where nothing else is yet.
pub(super) fn put(store: &Path, outside: &Path, domain: &str, local_part: &str, there: There) {
    let domain = store.join(domain);
    let maildir = domain.join(local_part);
    // Two mailboxes of one domain may want its name for different things: the first one has it.
    let folders = |names: &[&str]| names.iter().for_each(|name| drop(fs::create_dir_all(maildir.join(name))));
    let _ = match there {
        There::Nothing => Ok(()),
        There::DomainOnly => fs::create_dir_all(&domain),
        There::Maildir => {
            folders(&["tmp", "new", "cur"]);
            Ok(())
        }
        There::WithoutNew => {
            folders(&["tmp", "cur"]);
            Ok(())
        }
        There::WithoutTmp => {
            folders(&["new"]);
            Ok(())
        }
        There::NotAMaildir => fs::create_dir_all(&maildir),
        There::File => fs::create_dir_all(&domain).and_then(|()| fs::write(&maildir, "")),
        There::DomainIsAFile => fs::write(&domain, ""),
        There::Link => fs::create_dir_all(&domain).and_then(|()| symlink(outside, &maildir)),
        There::DomainIsALink => symlink(outside, &domain),
        There::NewIsALink => {
            folders(&["tmp"]);
            symlink(outside, maildir.join("new"))
        }
        There::TmpIsAFile => {
            folders(&["new"]);
            fs::write(maildir.join("tmp"), "")
        }
        There::DanglingLink => {
            fs::create_dir_all(&domain).and_then(|()| symlink(outside.join("nowhere"), &maildir))
        }
    };
}

/// One configuration, what is in its store, and who is named at RCPT.
#[derive(Debug, Clone)]
pub(super) struct World {
    pub(super) template: &'static str,
    pub(super) create: bool,
    pub(super) case_sensitive: bool,
    pub(super) sync: &'static str,
    pub(super) delimiter: &'static str,
    /// None: no file of aliases.
    pub(super) aliases: Option<&'static str>,
    pub(super) domains: &'static str,
    /// None: no file of recipients.
    pub(super) recipients: Option<Vec<&'static str>>,
    pub(super) there: Vec<(&'static str, &'static str, There)>,
    pub(super) rcpt: Vec<&'static str>,
}

pub(super) fn world() -> impl Strategy<Value = World> {
    let templates =
        ["", "{domain}/{local}", "{local}", ".{local}", "{domain}/.{local}", "v/{local}@{domain}"];
    let domains = ["", "\"x.test\"", "\"x.test\", \"*.y.test\""];
    let entries = vec![
        "anna@x.test",
        "@x.test",
        "@sub.y.test",
        "Bob@x.test",
        "\"a b\"@x.test",
        "ringmx.lock@x.test",
        "link@x.test",
        "bob+own@x.test",
    ];
    let aliases = vec![
        "all@x.test: anna@x.test, bob+own@x.test, carl@x.test\nanna@x.test: anna@x.test, link@x.test",
        "carl@x.test: anna+a@x.test, sub@sub.y.test, anna@x.test\nall@x.test: carl@x.test, \"..\"@x.test",
        "postmaster@x.test: bob@x.test\nall@x.test: bob@x.test",
    ];
    let local_parts = ["anna", "bob", "link", "carl", "postmaster", "tmp", "ringmx.lock"];
    let mailboxes = vec![
        "anna@x.test",
        "ANNA@x.test",
        "bob@x.test",
        "Bob@x.test",
        "link@x.test",
        "carl@x.test",
        "postmaster@x.test",
        "PostMaster@sub.y.test",
        "postmaster",
        "anna@sub.y.test",
        "\"a b\"@x.test",
        "ringmx.lock@x.test",
        "ringmx-marker-0@x.test",
        "tmp@x.test",
        "new@x.test",
        "a..b@x.test",
        "\"..\"@x.test",
        "%@x.test",
        "''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''''@x.test",
        "anna@[192.0.2.1]",
        "anna+a@x.test",
        "Bob+Own@x.test",
        "bob+x@x.test",
        "postmaster+x@x.test",
        "all@x.test",
        "all+x@x.test",
    ];
    let there = (select(vec!["x.test", "sub.y.test"]), select(local_parts.to_vec()), select(ALL.to_vec()));
    (
        select(templates.to_vec()),
        any::<(bool, bool)>(),
        (select(vec!["", "sync = \"each\"\n"]), select(vec!["", "+"]), prop::option::of(select(aliases))),
        select(domains.to_vec()),
        prop::option::of(subsequence(entries.clone(), 1..=entries.len())),
        prop::collection::vec(there, 0..6),
        prop::collection::vec(select(mailboxes), 1..6),
    )
        .prop_map(
            |(
                template,
                (create, case_sensitive),
                (sync, delimiter, aliases),
                domains,
                recipients,
                there,
                rcpt,
            )| World {
                template,
                create,
                case_sensitive,
                sync,
                delimiter,
                aliases,
                domains,
                recipients,
                there,
                rcpt,
            },
        )
}

/// The configuration as a file, read as `serve` reads it.
pub(super) fn load(world: &World, folder: &Path) -> Config {
    let World { template, create, case_sensitive, sync, delimiter, aliases, domains, recipients, .. } = world;
    let file = match recipients {
        Some(lines) => {
            fs::write(folder.join("recipients.txt"), lines.join("\n")).expect("the recipients");
            "recipients = \"recipients.txt\"\n"
        }
        None => "",
    };
    let aliases = match aliases {
        Some(lines) => {
            fs::write(folder.join("aliases.txt"), lines).expect("the aliases");
            "aliases = \"aliases.txt\"\n"
        }
        None => "",
    };
    let text = format!(
        "recipient_delimiter = \"{delimiter}\"\n{aliases}hostname = \"mx.x.test\"\ndomains = [{domains}]\n{file}local_part_case_sensitive = {case_sensitive}\n\
         local_part_deny = \"\"\nlocal_part_leading_dot = true\n\
         [[listener]]\naddress = \"127.0.0.1:0\"\n\
         [[sink]]\nkind = \"maildir\"\npath = \"store\"\ntemplate = \"{template}\"\ncreate = {create}\n{sync}"
    );
    // An empty list is refused where it stands; left out it means any domain.
    let text = text.replace("domains = []\n", "");
    let path = folder.join("ringmx.toml");
    fs::write(&path, text).expect("the configuration");
    config::load(&path).unwrap_or_else(|problems| panic!("{problems:?}")).0
}
