//! The configuration: what is accepted, and every problem with its line and text.

use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringmx::config::{self, Config, LineEndings, LogFormat, SinkKind, StdoutFormat};
use ringmx::mail::domain::DomainPattern;
use ringmx::mail::network::Network;
use ringmx::smtp::extension::{Extension, ExtensionSet};
use ringmx::smtp::settings::{BareLineEnd, ChunkLineEnd, EarlyTalkers, Gate, Pipelining, Refusal, TlsPolicy};

/// A listener and a sink: enough to be good. What stands in front of it is the top of the file.
const REST: &str = "[[listener]]\naddress = \"127.0.0.1:2525\"\n[[sink]]\nkind = \"discard\"\n";

fn parsed(text: &str) -> Result<(Config, Vec<String>), Vec<String>> {
    match config::parse(text, "mx.toml", Path::new("/etc/ringmx")) {
        Ok((config, warnings)) => Ok((config, warnings.iter().map(ToString::to_string).collect())),
        Err(problems) => Err(problems.iter().map(ToString::to_string).collect()),
    }
}

#[track_caller]
fn good(text: &str) -> Config {
    let (config, warnings) = parsed(text).expect("a good configuration");
    assert_eq!(warnings, [""; 0]);
    config
}

/// All problems of a text, each without the name of the file in front.
#[track_caller]
fn assert_problems(text: &str, expected: &[&str]) {
    assert_findings(text, &parsed(text).expect_err("problems"), expected);
}

#[track_caller]
fn assert_warnings(text: &str, expected: &[&str]) {
    assert_findings(text, &parsed(text).expect("a good configuration").1, expected);
}

#[track_caller]
fn assert_findings(text: &str, findings: &[String], expected: &[&str]) {
    let findings: Vec<&str> =
        findings.iter().map(|line| line.strip_prefix("mx.toml").expect("the file")).collect();
    assert_eq!(findings, expected, "\n{text}");
}

#[test]
fn the_embedded_default_takes_anyones_mail_on_loopback() {
    let config = Config::embedded_default();
    assert_eq!(config.domains, []);
    assert_eq!(config.listeners.len(), 1);
    assert_eq!(config.listeners[0].address, SocketAddr::from(([127, 0, 0, 1], 2525)));
    assert_eq!(config.postmaster, format!("postmaster@{}", config.hostname));
    assert_eq!(config.sink.workers, 2);
    let SinkKind::Maildir(maildir) = config.sink.kind else { panic!("a maildir") };
    let config::Maildir { path, template, create, line_endings, sync } = maildir;
    assert_eq!((path, template.as_str(), create), (PathBuf::from("ringmx-data"), "", false));
    assert_eq!((line_endings, sync), (LineEndings::Lf, None));
    assert!(config.shards.windows(2).all(|pair| pair[0].cpu < pair[1].cpu));
}

#[test]
fn the_example_of_the_design_is_good() {
    let cpu = Config::embedded_default().shards[0].cpu;
    let text = r#"
hostname = "mx1.example.org"
domains = ["example.org", "*.example.net"]
recipients = "recipients.txt"
postmaster = "postmaster@example.org"

[[listener]]
address = "[::]:25"
bare_lf = "normalize"

[[sink]]
kind = "spool"
path = "/var/spool/ringmx"
workers = 1

[shards]
cpus = "all"
ring_entries = 4096
buffers = 2048
buffer_size = "16KiB"
connections_max = 20000

[[shard]]
cpu = CPU
connections_max = 5000

[limits]
message_size_max = "50MiB"
recipients_max = 1000
connections_per_client_max = 50
errors_max = 20
command_timeout = "300s"
data_timeout = "300s"

[log]
format = "json"
"#;
    let config = good(&text.replace("CPU", &cpu.to_string()));
    let below = DomainPattern::Below("example.net".to_owned());
    assert_eq!(config.domains, [DomainPattern::Exact("example.org".to_owned()), below]);
    assert_eq!(config.recipients.as_deref(), Some(Path::new("/etc/ringmx/recipients.txt")));
    assert_eq!(config.listeners[0].bare_lf, BareLineEnd::Normalize);
    assert_eq!(config.listeners[0].bare_cr, BareLineEnd::Reject);
    let spool = matches!(&config.sink.kind, SinkKind::Spool(config::Spool { path, segment_bytes: 67_108_864, direct_writes: true })
        if path == Path::new("/var/spool/ringmx"));
    assert!(spool, "{:?}", config.sink);
    assert_eq!((config.shards[0].cpu, config.shards[0].connections_max), (cpu, 5000));
    assert!(config.shards[1..].iter().all(|shard| shard.connections_max == 20_000));
    assert_eq!(config.limits.message_size_max, 50 << 20);
    assert_eq!(config.limits.command_timeout, Duration::from_mins(5));
    assert_eq!(config.log.format, LogFormat::Json);
}

#[test]
fn values_have_their_units_and_defaults() {
    let config = good(&format!(
        "hostname = \"MX.example.org.\"\n{REST}[limits]\nmessage_size_max = 1_048_576\nline_length_max = \"0512\"\n\
         command_timeout = \"5min\"\ndata_timeout = \"180000ms\"\n"
    ));
    assert_eq!(
        (config.hostname.as_str(), config.postmaster.as_str()),
        ("mx.example.org", "postmaster@mx.example.org")
    );
    assert_eq!((config.limits.message_size_max, config.limits.line_bytes_max), (1 << 20, 512));
    assert_eq!(config.limits.data_timeout, Duration::from_mins(3));
    assert_eq!((config.local_part_deny.as_str(), config.local_part_leading_dot), ("%!@/|", false));
    assert_eq!(config.sink.workers, 1);
    assert!(config.log.sessions && config.log.messages);

    let config = good(&format!("domains = [\"*.a.example\", \"B.example\"]\n{REST}"));
    assert_eq!(config.postmaster, "postmaster@b.example");
    let stdout = REST.replace("\"discard\"", "\"stdout\"\nformat = \"mbox\"");
    let mbox = config::Stdout { format: StdoutFormat::Mbox };
    assert!(good(&stdout).sink.kind == SinkKind::Stdout(mbox));
}

#[test]
fn an_empty_file_has_nothing_to_listen_on_and_nowhere_to_store() {
    assert_problems(
        "",
        &[
            ": listener: nothing to listen on; write for example\n    | [[listener]]\n    | address = \"127.0.0.1:2525\"",
            ": sink: nowhere to store mail; write for example\n    | [[sink]]\n    | kind = \"maildir\"\n    \
             | path = \"ringmx-data\"",
        ],
    );
}

#[test]
fn what_is_not_toml_is_quoted_with_line_and_column() {
    assert_problems(
        "hostname = \"a\"\nbä = = 3\n",
        &[":2: column 6: this is not TOML: extra `=`, expected nothing\n    | bä = = 3"],
    );
    assert_problems("a = 1\na = 2\n", &[":2: column 1: this is not TOML: duplicate key\n    | a = 2"]);
}

#[test]
fn an_unknown_key_names_its_place_or_its_neighbour() {
    assert_problems(
        &format!(
            "message_size_max = 1\nhostnme = \"a.example\"\ncolour = 1\nbuffers = 4\n{REST}[limit]\nx = 1\n"
        ),
        &[
            ":1: message_size_max: `message_size_max` belongs into [limits]",
            ":2: hostnme: this key is unknown; did you mean `hostname`?",
            ":3: colour: this key is unknown; known here: hostname, domains, recipients, postmaster, \
             local_part_case_sensitive, local_part_deny, local_part_leading_dot, tls, listener, sink, limits, shards, shard, log",
            ":4: buffers: `buffers` belongs into [shards] or [[shard]]",
            ":9: limit: this key is unknown; did you mean `limits`?",
        ],
    );
    assert_problems(
        &format!("{REST}hostname = \"a.example\"\nworker = 2\n\"a\\nb\" = 1\n"),
        &[
            ":5: sink.hostname: `hostname` belongs into the top of the file",
            ":6: sink.worker: this key is unknown; did you mean `workers`?",
            ":7: sink.a\\nb: this key is unknown; known here: kind, path, workers, template, create, line_endings, sync, \
             segment_size, direct_writes, space_reserve, format, dsn, requiretls",
        ],
    );
}

#[test]
fn an_address_is_no_name() {
    for (text, why) in [
        ("192.0.2.1", "is an IP address; a name is needed here, such as \"mx1.example.org\""),
        ("[192.0.2.1]", "is an IP address; a name is needed here, such as \"mx1.example.org\""),
        ("2001:db8::1", "is an IP address; a name is needed here, such as \"mx1.example.org\""),
        ("[IPv6:2001:db8::1]", "is an IP address; a name is needed here, such as \"mx1.example.org\""),
        ("10.1", "is not a domain: its last label is a number, as in an IP address"),
        ("mx.25", "is not a domain: its last label is a number, as in an IP address"),
    ] {
        assert_problems(
            &format!("hostname = \"{text}\"\ndomains = [\"{text}\"]\npostmaster = \"a@{text}\"\n{REST}"),
            &[
                &format!(":1: hostname: {text:?} {why}"),
                &format!(":2: domains: {text:?} {why}"),
                &format!(":3: postmaster: {text:?} {why}"),
            ],
        );
    }
    assert_eq!(good(&format!("hostname = \"25.mx.example\"\n{REST}")).hostname, "25.mx.example");
    // What is wrong with one name is not told again of the system's.
    assert_problems(
        &format!("domains = [\"a.example\"]\nhostname = \"10.1\"\n{REST}").replace("127.0.0.1", "0.0.0.0"),
        &[":2: hostname: \"10.1\" is not a domain: its last label is a number, as in an IP address"],
    );
}

#[test]
fn postmaster_is_one_of_us() {
    let with = |top: &str| format!("hostname = \"mx.a.example\"\n{top}\n{REST}");
    let stored = |name: &str| format!("mail for the bare <postmaster> is stored for {name},");
    for good_one in [
        "domains = [\"a.example\"]\npostmaster = \"x@A.Example\"",
        "domains = [\"*.a.example\"]",
        "domains = [\"a.example\", \"*.b.example\"]\npostmaster = \"x@sub.b.example\"",
        "postmaster = \"x@anywhere.example\"",
    ] {
        good(&with(good_one));
    }
    for (top, line, name) in [
        ("domains = [\"a.example\"]\npostmaster = \"x@b.example\"", 3, "x@b.example"),
        ("domains = [\"*.a.example\"]\npostmaster = \"x@a.example\"", 3, "x@a.example"),
        ("domains = [\"a.example\"]\npostmaster = \"x@sub.a.example\"", 3, "x@sub.a.example"),
    ] {
        let domain = name.split('@').nth(1).expect("a domain");
        let why = format!(
            ":{line}: postmaster: {} and `domains` does not accept \"{domain}\": name a mailbox in one of `domains`",
            stored(name)
        );
        assert_warnings(&with(top), &[&why]);
    }
    let why = format!(
        ":2: domains: {} which they do not accept: set `postmaster` to a mailbox in one of them",
        stored("postmaster@mx.a.example")
    );
    assert_warnings(&with("domains = [\"*.b.example\"]"), &[&why]);
}

#[test]
fn that_every_local_part_is_taken_is_told_where_others_can_send() {
    let with = |top: &str, listener: &str, sink: &str| {
        format!(
            "hostname = \"mx.example\"\ndomains = [\"a.example\"]\n{top}\n[[listener]]\naddress = {listener}\n[[sink]]\nkind = {sink}\n"
        )
    };
    let every = ": recipients: there is no file of recipients, so every local-part of `domains` is taken; name one to have others \
                 refused (550 5.1.1)";
    for listener in
        ["\"[::]:25\"", "\"127.0.0.1:25\"\nproxy_from = [\"::1\"]", "\"[::1]:25\"\nxclient_from = [\"::1\"]"]
    {
        assert_warnings(&with("", listener, "\"discard\""), &[every]);
        good(&with("recipients = \"r\"", listener, "\"discard\""));
    }
    good(&with("", "\"127.0.0.1:25\"", "\"discard\""));
    good(&with("", "\"[::]:25\"\nrefuse = \"521\"", "\"discard\""));
    // Directories that are not made are a table.
    let sink = "\"maildir\"\npath = \"m\"\ntemplate = \"{domain}/{local}\"";
    let (_, warnings) = parsed(&with("", "\"[::]:25\"", sink)).expect("good");
    assert!(warnings.iter().all(|warning| !warning.contains(every)), "{warnings:?}");
    let sink = format!("{sink}\ncreate = true");
    assert_warnings(&with("", "\"[::]:25\"", &sink), &[every]);
}

#[test]
fn a_table_that_is_written_twice_says_how_it_is_written() {
    let twice = |header: &str, first: &str, second: &str| {
        format!("hostname = \"mx.example\"\n{header}\n{first}\n{header}\n{second}\nx = 1\n")
    };
    for (name, keys) in [
        ("listener", "address = \"127.0.0.1:25\""),
        ("sink", "kind = \"discard\"\npath = \"p\""),
        ("shard", "cpu = 0"),
        ("tls.certificate", "chain = \"c\"\nkey = \"k\""),
    ] {
        let line = 3 + keys.lines().count();
        assert_problems(
            &twice(&format!("[{name}]"), keys, keys),
            &[&format!(
                ":{line}: {name}: there may be several of these tables; write [[{name}]] here and in line 2"
            )],
        );
        assert_problems(
            &twice(
                "",
                &format!("[[{name}]]\n{keys}"),
                &format!("[ \"{}\" ]\n{keys}", name.replace('.', "\".\"")),
            ),
            &[&format!(":{}: {name}: there may be several of these tables; write [[{name}]]", line + 2)],
        );
        assert_problems(
            &twice("", &format!("[{name}]\n{keys}"), &format!("[[{name}]]\n{keys}")),
            &[&format!(
                ":{}: {name}: line 3 says [{name}]; there may be several of these tables: write [[{name}]] there, too",
                line + 2
            )],
        );
    }
    assert_problems(
        &twice("[limits]", "errors_max = 1", "errors_max = 2\nerrors_max = 3"),
        &[":4: limits: line 2 begins this table already; write [limits] once, with all its keys"],
    );
    // What comes after is told all the same.
    assert_problems(
        "[log]\nsessions = true\n[log]\nsessions = true\n[shards]\nbuffers = = 1\n",
        &[
            ":3: log: line 1 begins this table already; write [log] once, with all its keys",
            ":6: column 11: this is not TOML: extra `=`, expected nothing\n    | buffers = = 1",
        ],
    );
    assert_problems(
        &format!("{REST}[[certificate]]\nchain = \"c\"\n"),
        &[":5: certificate: this key is unknown; write [[tls.certificate]]"],
    );
    assert_problems(
        &format!("{REST}[certificate]\nchain = \"c\"\n"),
        &[":5: certificate: this key is unknown; write [[tls.certificate]]"],
    );
}

#[test]
fn one_table_is_not_several() {
    assert_problems(
        "limits = 4\n[listener]\naddress = \"x\"\n[sink]\n[[log]]\n",
        &[
            ":1: limits: this is one table; write [limits]",
            ":2: listener: there may be several of these tables; write [[listener]]",
            ":4: sink: there may be several of these tables; write [[sink]]",
            ":5: log: this is one table; write [log]",
        ],
    );
}

#[test]
fn a_bad_value_is_told_what_is_allowed() {
    assert_problems(
        &format!(
            "local_part_case_sensitive = \"no\"\nhostname = 1\n{REST}[limits]\nmessage_size_max = \"4MB\"\n\
             recipients_max = 99\nconnections_per_client_max = 0\nline_length_max = true\nerrors_max = -1\n\
             idle_commands_max = \"9\"\ncommand_timeout = 300\ndata_timeout = \"2h\"\n[log]\nformat = \"xml\"\n"
        ),
        &[
            ":1: local_part_case_sensitive: expected true or false; this is a string",
            ":2: hostname: expected a string: fully-qualified domain name; this is an integer",
            ":8: limits.message_size_max: \"4MB\": the unit \"MB\" is unknown, write KiB, MiB, GiB or plain octets; \
             allowed is 64KiB to 2GiB",
            ":9: limits.recipients_max: 99 is too little; allowed is 100 to 100000",
            ":10: limits.connections_per_client_max: 0 is too little; allowed is 1 to 1000000",
            ":11: limits.line_length_max: expected a size such as \"50MiB\" or plain octets; this is a boolean; \
             allowed is 512 to 16KiB",
            ":12: limits.errors_max: -1 is too little; allowed is 1 to 1000000",
            ":13: limits.idle_commands_max: expected an integer; this is a string; allowed is 1 to 1000000",
            ":14: limits.command_timeout: 300 has no unit; write ms, s, min or h behind it, for instance \"300s\"; \
             allowed is 1s to 1h",
            ":15: limits.data_timeout: 2h is too much; allowed is 1s to 1h",
            ":17: log.format: \"xml\" is none of \"text\" or \"json\"",
        ],
    );
}

#[test]
fn sizes_end_at_the_bounds_of_the_rfc() {
    let with = |size: &str| format!("{REST}[limits]\nmessage_size_max = {size}\n");
    assert_eq!(good(&with("\"64KiB\"")).limits.message_size_max, 65_536);
    assert_problems(
        &with("65535"),
        &[":6: limits.message_size_max: 65535 is too little; allowed is 64KiB to 2GiB"],
    );
    assert_problems(
        &with("2147483649"),
        &[":6: limits.message_size_max: 2147483649 is too much; allowed is 64KiB to 2GiB"],
    );
    assert_problems(
        &with("99999999999999999999"),
        &[":6: limits.message_size_max: 99999999999999999999 is too much; allowed is 64KiB to 2GiB"],
    );
}

#[test]
fn bad_names_are_found_one_by_one() {
    assert_problems(
        &format!(
            "domains = [\"*\", \"\u{378}.example\",\n 3,\n\"a..b\", \"-a.b\", \"a.*\"]\nlocal_part_deny = \"a\"\n\
             postmaster = \"x\"\nrecipients = \"\"\nhostname = \"a b\"\n{REST}"
        ),
        &[
            ":1: domains: \"*\" is no domain; leave `domains` out to accept any, on loopback listeners only",
            ":1: domains: \"\\u{378}.example\" is not a domain: a label is not one in Unicode (RFC 5890)",
            ":2: domains: expected a string in this list; this is an integer",
            ":3: domains: \"a..b\" is not a domain: a label is empty",
            ":3: domains: \"-a.b\" is not a domain: the label \"-a\" begins or ends with a hyphen",
            ":3: domains: \"a.*\": a `*` stands alone in front, as in \"*.example.org\"",
            ":4: local_part_deny: 'a' is not ASCII punctuation",
            ":5: postmaster: \"x\" is not an address: it has no `@domain`",
            ":6: recipients: the path is empty",
            ":7: hostname: \"a b\" is not a domain: ' ' is not a letter, digit, hyphen or underscore",
        ],
    );
    assert_problems(
        &format!("domains = \"example.org\"\n{REST}"),
        &[
            ":1: domains: expected a list of strings: domains such as \"example.org\", or \"*.example.org\" for every \
           domain below it; this is a string",
        ],
    );
}

#[test]
fn a_public_listener_needs_domains() {
    let with = |top: &str, address: &str| {
        format!("hostname = \"mx.example\"\n{top}\n{REST}").replace("127.0.0.1:2525", address)
    };
    for address in ["127.0.0.1:25", "127.8.8.8:25", "[::1]:25", "[::ffff:127.0.0.1]:25", "127.0.0.1:0"] {
        good(&with("", address));
    }
    for address in ["[::]:25", "0.0.0.0:25", "192.0.2.1:25"] {
        let every = ": recipients: there is no file of recipients, so every local-part of `domains` is taken; name one to have others \
                     refused (550 5.1.1)";
        assert_warnings(&with("domains = [\"example.org\"]", address), &[every]);
        for top in ["", "domains = []"] {
            let problem = format!(
                ":4: listener.address: {address} can be reached from other machines, and without `domains` every \
                 recipient would be taken; set `domains`, or listen on loopback, for instance on \"127.0.0.1:2525\""
            );
            assert_problems(&with(top, address), &[&problem]);
        }
    }
    // Bad domains are not no domains: one slip, one problem.
    assert_problems(
        &with("domains = [\"a b\"]", "[::]:25"),
        &[":2: domains: \"a b\" is not a domain: ' ' is not a letter, digit, hyphen or underscore"],
    );
}

#[test]
fn listener_addresses_are_good_and_differ() {
    let more = |address: &str| format!("{REST}[[listener]]\naddress = \"{address}\"\n");
    good(&more("127.0.0.1:2526"));
    good(&more("127.0.0.1:0").replace("127.0.0.1:2525", "127.0.0.1:0"));
    assert_problems(
        &more("127.0.0.1:2525"),
        &[":6: listener.address: 127.0.0.1:2525 is already the address of another listener"],
    );
    assert_problems(
        &more("[::ffff:127.0.0.1]:2525"),
        &[":6: listener.address: 127.0.0.1:2525 is already the address of another listener"],
    );
    assert_problems(
        &more("localhost:25"),
        &[":6: listener.address: \"localhost:25\" is not an IP address and a port, such as \"[::]:25\" or \
           \"192.0.2.1:25\""],
    );
    assert_problems(
        &format!("{REST}[[listener]]\n"),
        &[":5: listener.address: missing; write for example address = \"127.0.0.1:2525\""],
    );
}

#[test]
fn there_is_one_sink_and_its_keys_belong_to_its_kind() {
    let sink = |keys: &str| REST.replace("kind = \"discard\"", keys);
    assert_problems(
        &format!("{REST}[[sink]]\nkind = \"discard\"\n"),
        &[":5: sink: this version of ringmx has exactly one sink; take out all [[sink]] but one"],
    );
    assert_problems(&sink(""), &[":3: sink.kind: missing; write for example kind = \"maildir\""]);
    assert_problems(
        &sink("kind = \"file\""),
        &[":4: sink.kind: \"file\" is none of \"maildir\" or \"spool\" or \"stdout\" or \"discard\""],
    );
    for kind in ["maildir", "spool"] {
        assert_problems(
            &sink(&format!("kind = \"{kind}\"")),
            &[
                ":3: sink.path: missing; this sink stores into a directory, write for example path = \"ringmx-data\"",
            ],
        );
    }
    assert_problems(
        &sink("kind = \"stdout\"\npath = \"x\"\ntemplate = \"x\"\nsegment_size = \"1MiB\"\ncreate = true"),
        &[
            ":5: sink.path: this key is for a sink of kind \"maildir\" or \"spool\"",
            ":6: sink.template: this key is for a sink of kind \"maildir\"",
            ":7: sink.segment_size: this key is for a sink of kind \"spool\"",
            ":8: sink.create: this key is for a sink of kind \"maildir\"",
        ],
    );
    assert_problems(
        &sink("kind = \"maildir\"\npath = \"x\"\nformat = \"json\"\nworkers = 0\ntemplate = \"../{domain}\""),
        &[
            ":6: sink.format: this key is for a sink of kind \"stdout\"",
            ":7: sink.workers: 0 is too little; allowed is 1 to 256",
            ":8: sink.template: \"../{domain}\" has the component \"..\"; it must stay below `path`",
        ],
    );
    for (template, why) in [
        ("/{domain}", "\"/{domain}\" begins with `/`; it is a path below `path`"),
        ("{user}", "\"{user}\": \"{user}\" is not a placeholder; there are {domain} and {local}"),
        ("{domain", "\"{domain\": a brace without its partner; placeholders are {domain} and {local}"),
    ] {
        let text =
            sink(&format!("kind = \"maildir\"\npath = \"x\"\ncreate = true\ntemplate = \"{template}\""));
        assert_problems(&text, &[&format!(":7: sink.template: {why}")]);
    }
}

#[test]
fn shards_are_on_cores_that_there_are() {
    let shards = good(REST).shards;
    let (cpu, count) = (shards[0].cpu, shards.len());
    let one = good(&format!("{REST}[shards]\ncpus = [{cpu}]\nring_entries = 64\nbuffer_size = 8192\n"));
    assert_eq!((one.shards.len(), one.shards[0].ring_entries, one.shards[0].buffer_bytes), (1, 64, 8192));

    let problems = parsed(&format!("{REST}[shards]\ncpus = [{cpu},\n 1023, {cpu}]\n")).expect_err("problems");
    assert!(
        problems[0].starts_with("mx.toml:7: shards.cpus: this process cannot run on core 1023; it can on ")
    );
    assert_eq!(problems[1..], [format!("mx.toml:7: shards.cpus: core {cpu} is listed twice")]);

    let own = |text: &str| format!("{REST}[[shard]]\ncpu = {cpu}\n{text}");
    let double = format!(":8: shard.cpu: there is another [[shard]] for core {cpu}");
    assert_problems(&own(&format!("[[shard]]\ncpu = {cpu}\n")), &[&double]);
    assert_problems(&own("[[shard]]\n"), &[":7: shard.cpu: missing; write for example cpu = 0"]);
    if count > 1 {
        let other = shards[1].cpu;
        let text = format!("{REST}[shards]\ncpus = [{cpu}]\n[[shard]]\ncpu = {other}\n");
        assert_problems(
            &text,
            &[&format!(":8: shard.cpu: core {other} is not in use; shards.cpus names {cpu}")],
        );
    }
    assert_problems(
        &format!("{REST}[shards]\ncpus = []\nring_entries = 100\nbuffers = 65536\n"),
        &[
            ":6: shards.cpus: the list is empty; write \"all\" or at least one core",
            ":7: shards.ring_entries: 100 is not a power of two; near it are 64 and 128",
            ":8: shards.buffers: 65536 is too much; allowed is 16 to 32768",
        ],
    );
    assert_problems(
        &format!("{REST}[shards]\ncpus = \"some\"\n"),
        &[":6: shards.cpus: expected \"all\" or a list of numbers such as [0, 1]; this is a string"],
    );
}

#[test]
fn block_memory_holds_the_largest_message() {
    let with = |text: &str| format!("{REST}[limits]\nmessage_size_max = \"1GiB\"\n{text}");
    let why = "cannot hold one message of limits.message_size_max = 1GiB; at least 1025MiB";
    assert_problems(&with(""), &[&format!(": shards.block_memory: 64MiB {why}")]);
    assert_problems(
        &with("[shards]\nblock_memory = \"1GiB\"\n"),
        &[&format!(":8: shards.block_memory: 1GiB {why}")],
    );
    good(&with("[shards]\nblock_memory = \"1025MiB\"\n"));
    let shards = good(REST).shards;
    let own = format!(
        "[shards]\nblock_memory = \"2GiB\"\n[[shard]]\ncpu = {}\nblock_memory = \"1GiB\"\n",
        shards[0].cpu
    );
    assert_problems(&with(&own), &[&format!(":11: shard.block_memory: 1GiB {why}")]);
    // What no shard uses is not in the way.
    let each =
        shards.iter().map(|shard| format!("[[shard]]\ncpu = {}\nblock_memory = \"2GiB\"\n", shard.cpu));
    let each = each.collect::<Vec<_>>().concat();
    good(&with(&each));
}

#[test]
fn fronts_are_networks_and_make_a_loopback_listener_public() {
    let with = |keys: &str| REST.replace("[[sink]]", &format!("{keys}\n[[sink]]"));
    let fronts = "proxy_from = [\"127.0.0.0/8\", \"::1\"]\nxclient_from = [\"10.0.0.0/8\"]";
    let top = "hostname = \"mx.example\"\ndomains = [\"a.example\"]\nrecipients = \"r\"\n";
    let config = good(&format!("{top}{}", with(fronts)));
    let gate = &config.listeners[0].gate;
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    assert!(
        gate.expects_proxy_header(address("::ffff:127.0.0.1")) && gate.expects_proxy_header(address("::1"))
    );
    assert!(!gate.expects_proxy_header(address("10.0.0.1")) && gate.trusts_xclient(address("10.0.0.1")));
    let why = "127.0.0.1:2525 can be reached through its fronts, and without `domains` every recipient would be taken; \
               set `domains`, or take out `proxy_from` and `xclient_from`";
    assert_problems(
        &format!("hostname = \"mx.example\"\n{}", with(fronts)),
        &[&format!(":3: listener.address: {why}")],
    );
    assert_problems(
        &with("proxy_from = [\"10.0.0.1/8\"]\nxclient_from = \"10.0.0.1\""),
        &[
            ":3: listener.proxy_from: \"10.0.0.1/8\" has bits set behind its prefix; the network is 10.0.0.0/8",
            ":4: listener.xclient_from: expected a list of strings: networks such as \"10.0.0.0/8\" or \
             \"2001:db8::/32\"; this is a string",
        ],
    );
}

#[test]
fn a_front_is_trusted_in_one_way_and_strangers_are_none() {
    let with = |keys: &str| REST.replace("[[sink]]", &format!("{keys}\n[[sink]]"));
    let top = "hostname = \"mx.example\"\ndomains = [\"a.example\"]\nrecipients = \"r\"\n";
    for (proxy, xclient) in [
        ("10.0.0.0/8", "10.0.0.0/8"),
        ("10.0.0.0/8", "10.1.2.3"),
        ("10.1.2.3", "10.0.0.0/8"),
        ("2001:db8::/32", "2001:db8:5::/48"),
        ("::ffff:10.0.0.0/104", "10.9.0.0/16"),
    ] {
        let text =
            format!("{top}{}", with(&format!("proxy_from = [\"{proxy}\"]\nxclient_from = [\"{xclient}\"]")));
        let (proxy, xclient) = (network(proxy), network(xclient));
        let why =
            "have addresses in common, and a front speaks in one way only: take these out of one of them";
        assert_problems(
            &text,
            &[&format!(":7: listener.xclient_from: {xclient} and {proxy} of `proxy_from` {why}")],
        );
    }
    for key in ["proxy_from", "xclient_from"] {
        for wide in ["0.0.0.0/0", "::/0", "0.0.0.0/1", "2000::/3"] {
            let text = format!("{top}{}", with(&format!("{key} = [\"{wide}\"]")));
            let (_, warnings) = parsed(&text).expect("a good configuration");
            let start = format!(":6: listener.{key}: {wide} holds strangers");
            assert!(warnings.iter().any(|warning| warning.contains(&start)), "{warnings:?}");
        }
        let text = format!("{top}{}", with(&format!("{key} = [\"10.0.0.0/8\", \"fc00::/7\"]")));
        good(&text);
    }
}

fn network(text: &str) -> Network {
    Network::parse(text).expect("a network")
}

#[test]
fn what_clients_may_do_has_safe_defaults() {
    let gate = &good(REST).listeners[0].gate;
    assert_eq!(*gate, Gate::default());
    assert_eq!((gate.early_talkers, gate.pipelining), (EarlyTalkers::Reject, Pipelining::RejectData));
    assert_eq!((gate.refuse, gate.greeting_delay), (None, Duration::ZERO));
    let limits = good(REST).limits;
    assert_eq!((limits.received_max, limits.data_line_bytes_max), (100, 0));
    let keys = "refuse = \"554\"\ngreeting_delay = \"2s\"\nearly_talkers = \"tolerate\"\n\
                unauthorized_pipelining = \"reject\"\n[[sink]]";
    let gate = &good(&REST.replace("[[sink]]", keys)).listeners[0].gate;
    assert_eq!((gate.refuse, gate.greeting_delay), (Some(Refusal::NotNow), Duration::from_secs(2)));
    assert_eq!((gate.early_talkers, gate.pipelining), (EarlyTalkers::Tolerate, Pipelining::Reject));
    assert_warnings(
        &format!("{REST}[limits]\ndata_line_length_max = 998\n"),
        &[":6: limits.data_line_length_max: RFC 5321 section 4.5.3.1.6 asks for at least 1000"],
    );
}

#[test]
fn tls_needs_a_certificate() {
    let with_listener = |listener: &str| REST.replace("[[sink]]", &format!("{listener}\n[[sink]]"));
    let why = "there is no certificate; write for example\n    | [[tls.certificate]]\n    | chain = \"mx1.pem\"\n    | key = \"mx1.key\"";
    assert_problems(&with_listener("tls = \"offered\""), &[&format!(":3: listener.tls: {why}")]);
    assert_problems(
        &format!("{REST}[[tls.certificate]]\nkey = \"k\"\n"),
        &[":5: tls.certificate.chain: missing; write for example chain = \"mx1.pem\""],
    );
    let policy = |text: &str| good(text).listeners[0].tls;
    assert_eq!(policy(REST), TlsPolicy::Off);
    let certificate = "[tls]\nminimum = \"1.3\"\n[[tls.certificate]]\nchain = \"c\"\nkey = \"k\"\n";
    assert_eq!(policy(&format!("{REST}{certificate}")), TlsPolicy::Offered);
    assert_eq!(policy(&format!("{}{certificate}", with_listener("tls = \"off\""))), TlsPolicy::Off);
    assert_eq!(policy(&format!("{REST}[tls]\nself_signed = true\n")), TlsPolicy::Offered);
    let both = format!("{REST}{certificate}").replace("[tls]", "[tls]\nself_signed = true");
    assert_problems(&both, &[":6: tls.self_signed: there are certificates; take out one or the other"]);
}

#[test]
fn what_is_allowed_and_unwise_is_a_warning() {
    assert_warnings(
        &format!(
            "domains = [\"a.example\", \"A.example.\"]\n{REST}[limits]\ncommand_timeout = \"299s\"\ndata_timeout = \"179s\"\n"
        ),
        &[
            ":1: domains: \"a.example\" is listed twice",
            ":7: limits.command_timeout: RFC 5321 section 4.5.3.2.7 asks for at least 300s",
            ":8: limits.data_timeout: RFC 5321 section 4.5.3.2.5 asks for at least 180s",
        ],
    );
    assert_warnings(
        "hostname = \"mx\"\ndomains = [\"a.example\"]\n[[listener]]\naddress = \"[::]:25\"\n[[sink]]\n\
         kind = \"maildir\"\npath = \"x\"\ntemplate = \"{domain}/{local}\"\n",
        &[
            ":4: listener.address: `hostname`, \"mx\", is not fully qualified, and other servers will see it \
             (RFC 5321 section 2.3.5)",
            ":8: sink.template: without `recipients` and without `create = true`, only maildirs that exist and \
             postmaster get mail; all other recipients are refused",
        ],
    );
    assert_warnings(
        &REST.replace("\"discard\"", "\"maildir\"\npath = \"x\"\ncreate = true\ntemplate = \"{local}\""),
        &[":7: sink.template: without {domain}, the same local-part of two domains shares a maildir"],
    );
}

proptest::proptest! {
    /// Every key gets every type of value, in every table: a problem each, or good, but never a panic, and every
    /// problem has a text.
    #[test]
    fn no_text_is_worse_than_a_problem(picks in proptest::collection::vec((0usize..64, 0usize..16), 1..40)) {
        let reference = config::reference();
        let keys: Vec<&str> = reference.lines().filter_map(|line| line.split_once(" = ")).map(|(key, _)| key).collect();
        let values = [
            "\"\"", "\"all\"", "\"ü\"", "[]", "[1, \"a\", [2]]", "{}", "{ a = 1 }", "-1", "0", "0xFFFFFFFFFFFFFFFF", "1.5",
            "nan", "true", "1979-05-27", "\"\\u0000\"", "\"{\"",
        ];
        let headers = ["[limits]", "[[listener]]", "[[sink]]", "[shards]", "[[shard]]", "[log]", "[tls.x]", "]", "\r"];
        let line = |(key, value): (usize, usize)| match headers.get(key) {
            Some(header) => (*header).to_owned(),
            None => format!("{} = {}", keys[key % keys.len()].trim_start_matches("# "), values[value]),
        };
        let text = picks.into_iter().map(line).collect::<Vec<_>>().join("\n");
        if let Err(problems) = parsed(&text) {
            proptest::prop_assert!(!problems.is_empty());
        }
    }
}

#[test]
fn the_configuration_may_begin_with_a_byte_order_mark_and_holds_no_other() {
    good(&format!("\u{feff}domains = [\"example.org\"]\n{REST}"));
    assert_problems(
        &format!(
            "hostname = \"mx\u{200b}.example.org\"\ndomains = [\"exam\u{ad}ple.org\", \"\u{feff}a.test\"]\npostmaster = \"a\u{2060}@b\"\n{REST}"
        ),
        &[
            ":1: hostname: \"mx\\u{200b}.example.org\" is not a domain: it holds U+200B, which cannot be seen; take it out",
            ":2: domains: \"exam\\u{ad}ple.org\" is not a domain: it holds U+00AD, which cannot be seen; take it out",
            ":2: domains: \"\\u{feff}a.test\" is not a domain: it holds a byte order mark (U+FEFF), which cannot be seen; only \
             the first line may begin with it, take it out",
            ":3: postmaster: \"a\\u{2060}@b\" is not an address: it holds U+2060, which cannot be seen; take it out",
        ],
    );
}

#[test]
fn files_that_cannot_be_read_are_problems() {
    let dir = tempfile::tempdir().expect("a directory");
    let file = dir.path().join("mx.toml");
    std::fs::write(&file, format!("domains = [\"example.org\"]\nrecipients = \"recipients.txt\"\n{REST}"))
        .expect("written");
    let problems = config::load(&file).expect_err("problems");
    assert_eq!(problems.len(), 1);
    let name = dir.path().join("recipients.txt").display().to_string();
    assert!(problems[0].0.text.starts_with(&format!("{name} cannot be read: No such file")));
    assert_eq!((problems[0].0.line, problems[0].0.key.as_str()), (Some(2), "recipients"));
    std::fs::write(&file, b"a = 1\n# \xff\n").expect("written");
    let problems = config::load(&file).expect_err("problems");
    assert_eq!(problems[0].0.line, Some(2));
    assert_eq!(problems[0].0.text, "this is not TOML: it is not UTF-8");
    std::fs::write(&file, b"\xff\xfea\0").expect("written");
    let problems = config::load(&file).expect_err("problems");
    assert_eq!(problems[0].0.text, "this file is UTF-16; save it as UTF-8");
    assert!(config::load(dir.path()).expect_err("problems")[0].0.text.starts_with("cannot be read: "));
}

#[test]
fn the_reference_is_itself_a_configuration_of_defaults() {
    let reference = config::reference();
    let text = |config: Config| format!("{config:?}");
    let base = Path::new("");
    let (config, warnings) = config::parse(&reference, "reference", base).expect("good");
    assert_eq!(warnings, []);
    // But for the certificate that is made for trying out.
    let mut default = Config::embedded_default();
    default.tls.self_signed = false;
    default.listeners[0].tls = TlsPolicy::Off;
    assert_eq!(text(config), text(default));
    // Every default that it shows is what holds without the key.
    let mut spelled_out = String::new();
    let mut shows_default = false;
    for line in reference.lines().take_while(|line| !line.contains("[[shard]]")) {
        let key = line.strip_prefix("# ").filter(|_| shows_default);
        spelled_out.push_str(
            // The sink of the reference is a maildir.
            key.filter(|key| !["segment", "direct", "format"].iter().any(|other| key.starts_with(other)))
                .unwrap_or(line),
        );
        spelled_out.push('\n');
        shows_default = line.contains("; default ");
    }
    assert!(spelled_out.contains("\nmessage_size_max = \"50MiB\"\n"));
    let (config, warnings) = config::parse(&spelled_out, "spelled out", base).expect("good");
    assert_eq!(warnings, []);
    // But for the certificate that is made for trying out.
    let mut default = Config::embedded_default();
    default.tls.self_signed = false;
    default.listeners[0].tls = TlsPolicy::Off;
    assert_eq!(text(config), text(default));
}

#[test]
fn docs_configuration_is_current() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/configuration.md");
    let current = config::markdown();
    if std::env::var_os("UPDATE_DOCS").is_some() {
        std::fs::write(&path, &current).expect("docs/configuration.md written");
    }
    let stored = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(
        stored == current,
        "docs/configuration.md is not what `ringmx config` says; \
         make it again with: UPDATE_DOCS=1 cargo test -p ringmx --test tools docs"
    );
}

#[test]
fn domains_may_be_written_in_unicode() {
    let config = good(&format!(
        "hostname = \"mx.Bücher.example\"\ndomains = [\"BÜCHER.example\", \"*.bu\u{308}cher.example\"]\n{REST}"
    ));
    let name = "xn--bcher-kva.example".to_owned();
    assert_eq!(config.hostname, format!("mx.{name}"));
    assert_eq!(config.domains, [DomainPattern::Exact(name.clone()), DomainPattern::Below(name.clone())]);
    assert_eq!(config.postmaster, format!("postmaster@{name}"));
}

#[test]
fn extensions_can_be_switched_off_where_the_rfcs_let_them() {
    let with = |keys: &str| REST.replace("[[sink]]", &format!("{keys}[[sink]]"));
    let usual = good(REST).listeners[0].extensions;
    assert_eq!(usual, ExtensionSet::usual());
    let config = good(&with("extensions_off = [\"CHUNKING\", \"binarymime\"]\nbdat_bare_lf = \"reject\"\n"));
    let expected = usual.without(Extension::Chunking).without(Extension::BinaryMime);
    assert_eq!(config.listeners[0].extensions, expected);
    assert_eq!(config.listeners[0].bdat_bare_lf, ChunkLineEnd::Reject);
    assert_problems(
        &with("extensions_off = [\"CHUNKING\"]\n"),
        &[
            ":3: listener.extensions_off: BINARYMIME cannot be offered without CHUNKING (RFC 3030 section 3); \
           switch BINARYMIME off, too",
        ],
    );
    assert_problems(
        &with("extensions_off = [\"8BITMIME\"]\n"),
        &[
            ":3: listener.extensions_off: SMTPUTF8 cannot be offered without 8BITMIME (RFC 6531 section 3.1); \
           switch SMTPUTF8 off, too",
        ],
    );
    assert_problems(
        &with("extensions_off = [\"CHUNKS\"]\n"),
        &[":3: listener.extensions_off: \"CHUNKS\" is none of the extensions: PIPELINING, SIZE, 8BITMIME, \
           SMTPUTF8, ENHANCEDSTATUSCODES, CHUNKING, BINARYMIME, DSN, STARTTLS, REQUIRETLS, LIMITS, HELP"],
    );
}

#[test]
fn promises_are_offered_only_where_they_are_kept() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:2525\"\n";
    let spool = format!("{listener}[[sink]]\nkind = \"spool\"\npath = \"p\"\n");
    let extensions = |keys: &str| good(&format!("{spool}{keys}")).listeners[0].extensions;
    assert_eq!(extensions("dsn = true\nrequiretls = true\n"), ExtensionSet::all());
    assert_eq!(extensions("dsn = false\n"), ExtensionSet::usual());
    assert_eq!(extensions("dsn = true\n"), ExtensionSet::all().without(Extension::RequireTls));
    let mbox = good(&format!("{listener}[[sink]]\nkind = \"stdout\"\nformat = \"mbox\"\n"));
    assert_eq!(mbox.listeners[0].extensions, ExtensionSet::usual().without(Extension::BinaryMime));
    for kind in ["maildir\"\npath = \"p", "stdout", "discard"] {
        let text = format!("{listener}[[sink]]\ndsn = true\nkind = \"{kind}\"\n");
        assert_problems(
            &text,
            &[":4: sink.dsn: nobody behind this kind of sink sends the notifications that DSN promises; \
               only a spool may have it"],
        );
    }
}
