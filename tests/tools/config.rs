//! The configuration: what is accepted, and every problem with its line and text.

mod admin;
mod filters;
mod front_line;
mod listeners;
mod mistakes;
mod sinks;

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use ringmx::config::{self, Config, LineEndings, LogFormat, Quarantine, SinkKind, StdoutFormat};
use ringmx::mail::domain::DomainPattern;
use ringmx::smtp::extension::{Extension, ExtensionSet};
use ringmx::smtp::settings::{BareLineEnd, ChunkLineEnd, TlsPolicy};

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
    let config::Maildir { path, template, create, line_endings, quarantine, sync, mode, group } = maildir;
    assert_eq!((path, template.as_str(), create), (PathBuf::from("ringmx-data"), "", false));
    assert_eq!((line_endings, quarantine), (LineEndings::Lf, Quarantine::Inbox));
    assert_eq!((sync, mode, group), (None, None, None));
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
path = "/var/lib/ringmx/spool"
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
        if path == Path::new("/var/lib/ringmx/spool"));
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
    /// Every key gets every type of value, in every table: a problem each, or good, but never a panic, and
    /// every problem has a text.
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
    // What a core has in its own way has no values of its own, and there is no default of [control]. With
    // [client_limits] there are limits, and with [auth] checks.
    let mut is_left_out = false;
    const OTHERS: [&str; 7] = ["segment", "direct", "format", "replicas", "subject", "partitions", "window"];
    for line in reference.lines().take_while(|line| *line != "# [control]") {
        let is_table = |name: &str| line == format!("# {name}");
        is_left_out = ["[[shard]]", "[client_limits]", "[auth]", "[[filter]]"].into_iter().any(is_table)
            || is_left_out && !line.starts_with('[');
        if is_left_out {
            continue;
        }
        let key = line.strip_prefix("# ").filter(|_| shows_default);
        spelled_out.push_str(
            // The sink of the reference is a maildir.
            key.filter(|key| !OTHERS.iter().any(|other| key.starts_with(other))).unwrap_or(line),
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
    let offered = |config: &Config| config.extensions_of(&config.listeners[0]);
    let usual = offered(&good(REST));
    assert_eq!(usual, ExtensionSet::usual());
    let config = good(&with("extensions_off = [\"CHUNKING\", \"binarymime\"]\nbdat_bare_lf = \"reject\"\n"));
    let expected = usual.without(Extension::Chunking).without(Extension::BinaryMime);
    assert_eq!(offered(&config), expected);
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
