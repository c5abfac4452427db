//! Which keys a reload takes: each key of the reference is changed, and what `ringmx config` claims of it is
//! compared with what a running server takes over.

use std::fmt::Write as _;
use std::path::Path;

use ringmx::config::{self, Config, TakenBy};

/// A key, the kind of sink that it is tried with, and two values. `-` is for a key that is not given.
const ROWS: &[(&str, &str, &str, &str)] = &[
    ("hostname", "discard", "\"mx.test\"", "\"other.test\""),
    ("domains", "discard", "[\"x.test\"]", "[\"x.test\", \"y.test\"]"),
    ("domains_without_mail", "discard", "[\"y.test\"]", "[\"y.test\", \"z.test\"]"),
    ("recipients", "discard", "\"a\"", "\"b\""),
    ("recipients_down", "spool", "\"defer\"", "\"accept\""),
    ("aliases", "discard", "\"a\"", "\"b\""),
    ("postmaster", "discard", "-", "\"p@x.test\""),
    ("local_part_case_sensitive", "discard", "false", "true"),
    ("recipient_delimiter", "discard", "\"\"", "\"+\""),
    ("local_part_deny", "discard", "\"%\"", "\"!\""),
    ("local_part_leading_dot", "discard", "false", "true"),
    ("tls.minimum", "discard", "\"1.2\"", "\"1.3\""),
    ("tls.self_signed", "discard", "false", "true"),
    ("tls.certificate.chain", "discard", "\"a.pem\"", "\"b.pem\""),
    ("tls.certificate.key", "discard", "\"a.key\"", "\"b.key\""),
    ("listener.address", "discard", "\"127.0.0.1:2525\"", "\"127.0.0.1:2526\""),
    ("listener.receive_buffer", "discard", "\"1MiB\"", "\"2MiB\""),
    ("listener.bare_lf", "discard", "\"reject\"", "\"normalize\""),
    ("listener.bare_cr", "discard", "\"reject\"", "\"normalize\""),
    ("listener.bdat_bare_lf", "discard", "\"keep\"", "\"reject\""),
    ("listener.nul", "discard", "\"keep\"", "\"reject\""),
    ("listener.extensions_off", "discard", "[]", "[\"CHUNKING\", \"BINARYMIME\"]"),
    ("listener.proxy_from", "discard", "[]", "[\"10.0.1.0/24\"]"),
    ("listener.xclient_from", "discard", "[]", "[\"10.0.2.0/24\"]"),
    ("listener.clients_from", "discard", "-", "[\"10.0.2.0/24\"]"),
    ("listener.refuse", "discard", "-", "\"521\""),
    ("listener.greeting_delay", "discard", "\"0s\"", "\"5s\""),
    ("listener.early_talkers", "discard", "\"reject\"", "\"tolerate\""),
    ("listener.unauthorized_pipelining", "discard", "\"reject\"", "\"tolerate\""),
    ("listener.tls", "discard", "\"off\"", "\"offered\""),
    ("listener.tls_tickets", "discard", "false", "true"),
    ("sink.kind", "discard", "\"discard\"", "\"stdout\""),
    ("sink.path", "maildir", "\"a\"", "\"b\""),
    ("sink.workers", "maildir", "-", "4"),
    ("sink.template", "maildir", "\"{domain}/{local}\"", "\"{domain}\""),
    ("sink.create", "maildir", "false", "true"),
    ("sink.line_endings", "maildir", "\"lf\"", "\"crlf\""),
    ("sink.quarantine", "maildir", "\"inbox\"", "\"junk\""),
    ("sink.sync", "maildir", "-", "\"each\""),
    ("sink.mode", "maildir", "-", "\"0640\""),
    ("sink.group", "maildir", "-", "\"0\""),
    ("sink.segment_size", "spool", "\"64MiB\"", "\"32MiB\""),
    ("sink.direct_writes", "spool", "true", "false"),
    ("sink.fallback", "spool", "-", "-"),
    ("sink.servers", "nats", "[\"nats://10.0.0.1\"]", "[\"nats://10.0.0.2\"]"),
    ("sink.stream", "nats", "\"MAIL\"", "\"POST\""),
    ("sink.replicas_min", "nats", "3", "1"),
    ("sink.bytes_max", "nats", "-", "\"1GiB\""),
    ("sink.subject", "nats", "\"mail.default\"", "\"mail.other\""),
    ("sink.partitions", "nats", "1", "4"),
    ("sink.credentials", "nats", "-", "\"a.creds\""),
    ("sink.tls_ca", "nats", "-", "\"a.pem\""),
    ("sink.tls_certificate", "nats", "\"a.pem\"", "\"b.pem\""),
    ("sink.tls_key", "nats", "\"a.key\"", "\"b.key\""),
    ("sink.monitor", "nats", "[]", "[\"http://10.0.0.1\"]"),
    ("sink.window", "nats", "1024", "100"),
    ("sink.space_reserve", "maildir", "-", "\"1MiB\""),
    ("sink.format", "stdout", "\"json\"", "\"mbox\""),
    ("sink.dsn", "spool", "false", "true"),
    ("sink.requiretls", "spool", "false", "true"),
    ("forward.domains", "spool", "[\"x.test\", \"y.test\"]", "-"),
    ("forward.to", "spool", "[\"lmtp://127.0.0.1:24\"]", "[\"smtp://127.0.0.1:26\"]"),
    ("forward.balance", "spool", "\"first\"", "\"spread\""),
    ("forward.tls", "spool", "\"off\"", "\"required\""),
    ("forward.xclient", "spool", "false", "true"),
    ("forward.connections_max", "spool", "20", "10"),
    ("forward_queue.expire", "spool", "\"5d\"", "\"4d\""),
    ("forward_queue.dsn", "spool", "\"off\"", "\"all\""),
    ("forward_queue.dsn_via", "spool", "\"smtp://127.0.0.1:25\"", "\"smtp://127.0.0.1:26\""),
    ("forward_admin.address", "spool", "\"127.0.0.1:9726\"", "\"127.0.0.1:9727\""),
    ("forward_admin.allow", "spool", "[]", "[\"10.0.3.0/24\"]"),
    ("access.networks", "discard", "[\"192.0.2.0/24\"]", "[\"192.0.2.0/25\"]"),
    ("access.networks_file", "discard", "\"/dev/null\"", "\"/dev/./null\""),
    ("access.ehlo", "discard", "[\"x.test\"]", "[\"y.test\"]"),
    ("access.reverse_path", "discard", "[\"x.test\"]", "[\"y.test\"]"),
    ("access.action", "discard", "\"refuse\"", "\"warn\""),
    ("access.text", "discard", "-", "\"Go away\""),
    ("dnsbl.zone", "discard", "\"x.test\"", "\"y.test\""),
    ("dnsbl.answers", "discard", "-", "[\"127.0.0.2\"]"),
    ("dnsbl.weight", "discard", "1", "2"),
    ("dnsbl.name", "discard", "-", "\"List\""),
    ("dnsbl.families", "discard", "-", "\"ipv4\""),
    ("score.refuse", "discard", "-", "3"),
    ("score.drop", "discard", "-", "8"),
    ("score.action", "discard", "-", "\"warn\""),
    ("early.greet_delay", "discard", "-", "\"3s\""),
    ("early.reverse_dns", "discard", "-", "\"mark\""),
    ("early.sender_domain", "discard", "-", "\"refuse\""),
    ("early.greylist", "discard", "-", "\"unknown\""),
    ("early.greylist_action", "discard", "\"refuse\"", "\"warn\""),
    ("early.state", "discard", "-", "\"clients.state\""),
    ("limits.message_size_max", "discard", "\"1MiB\"", "\"2MiB\""),
    ("limits.recipients_max", "discard", "100", "200"),
    ("limits.connections_per_client_max", "discard", "10", "20"),
    ("limits.line_length_max", "discard", "1024", "2048"),
    ("limits.errors_max", "discard", "10", "20"),
    ("limits.idle_commands_max", "discard", "10", "20"),
    ("limits.session_without_mail_max", "discard", "\"1h\"", "\"2h\""),
    ("limits.command_timeout", "discard", "\"300s\"", "\"400s\""),
    ("limits.tls_handshake_timeout", "discard", "\"30s\"", "\"40s\""),
    ("limits.data_timeout", "discard", "\"300s\"", "\"400s\""),
    ("limits.sink_answer_timeout", "discard", "\"30s\"", "\"40s\""),
    ("limits.received_max", "discard", "100", "200"),
    ("limits.data_line_length_max", "discard", "0", "2000"),
    ("limits.spill_size_max", "discard", "\"1GiB\"", "\"2GiB\""),
    ("limits.spill_files_max", "discard", "10", "20"),
    ("limits.clients_max", "discard", "-", "4096"),
    ("auth.authserv_id", "discard", "-", "\"mx1.example.org\""),
    ("auth.spf", "discard", "\"mark\"", "\"off\""),
    ("auth.dkim", "discard", "\"mark\"", "\"off\""),
    ("auth.dmarc", "discard", "\"mark\"", "\"off\""),
    ("auth.from", "discard", "\"mark\"", "\"refuse\""),
    ("auth.arc_trusted", "discard", "-", "[\"x.test\"]"),
    ("auth.keep_results_from", "discard", "-", "[\"10.0.0.0/8\"]"),
    ("auth.temporary_failure", "discard", "\"accept\"", "\"refuse\""),
    ("auth.header_bytes_max", "discard", "\"256KiB\"", "\"128KiB\""),
    ("filter.name", "discard", "\"a\"", "\"b\""),
    ("filter.kind", "discard", "\"rspamd\"", "\"rspamd\""),
    ("filter.url", "discard", "\"http://127.0.0.1\"", "\"http://127.0.0.1:1\""),
    ("filter.settings_id", "discard", "\"\"", "\"mx\""),
    ("filter.password_file", "discard", "-", "\"rspamd.password\""),
    ("filter.socket", "discard", "\"unix:/run/a\"", "\"unix:/run/b\""),
    ("filter.add_fields", "discard", "true", "false"),
    ("filter.skip", "discard", "\"trusted\"", "\"nobody\""),
    ("filter.bytes_max", "discard", "\"50MiB\"", "\"1MiB\""),
    ("filter.timeout", "discard", "\"30s\"", "\"20s\""),
    ("filter.on_failure", "discard", "\"tempfail\"", "\"accept\""),
    ("filter.connections_max", "discard", "100", "10"),
    ("client_limits.connections", "discard", "\"60/min\"", "\"5/s\""),
    ("client_limits.messages", "discard", "-", "\"5/s\""),
    ("client_limits.recipients", "discard", "-", "\"5/s\""),
    ("client_limits.unknown_recipients", "discard", "-", "\"5/s\""),
    ("client_limits.errors", "discard", "-", "\"5/s\""),
    ("client_limits.action", "discard", "\"refuse\"", "\"warn\""),
    ("shards.cpus", "discard", "\"all\"", "[CPU]"),
    ("shards.ring_entries", "discard", "4096", "2048"),
    ("shards.batch_wait", "discard", "\"0s\"", "\"1ms\""),
    ("shards.buffers", "discard", "1024", "512"),
    ("shards.buffer_size", "discard", "\"32KiB\"", "\"16KiB\""),
    ("shards.block_memory", "discard", "\"64MiB\"", "\"128MiB\""),
    ("shards.connections_max", "discard", "1000", "2000"),
    ("shard.cpu", "discard", "CPU", "CPU"),
    ("shard.ring_entries", "discard", "-", "2048"),
    ("shard.batch_wait", "discard", "-", "\"1ms\""),
    ("shard.buffers", "discard", "512", "-"),
    ("shard.buffer_size", "discard", "\"16KiB\"", "\"64KiB\""),
    ("shard.block_memory", "discard", "\"64MiB\"", "\"128MiB\""),
    ("shard.connections_max", "discard", "-", "2000"),
    ("dns.servers", "discard", "[\"127.0.0.1\"]", "[\"127.0.0.1:5353\"]"),
    ("dns.threads", "discard", "-", "1"),
    ("log.file", "discard", "-", "\"ringmx.log\""),
    ("log.format", "discard", "\"text\"", "\"json\""),
    ("log.sessions", "discard", "true", "false"),
    ("log.session_lines_max", "discard", "100", "200"),
    ("log.messages", "discard", "true", "false"),
    ("log.refusals", "discard", "true", "false"),
    ("admin.address", "discard", "\"127.0.0.1:9725\"", "\"127.0.0.1:9726\""),
    ("admin.allow", "discard", "[]", "[\"10.0.3.0/24\"]"),
    ("control.socket", "discard", "\"a.sock\"", "\"b.sock\""),
    ("run_as.user", "discard", "\"nobody\"", "\"root\""),
    ("run_as.group", "discard", "\"nogroup\"", "\"root\""),
    ("run_as.sandbox", "discard", "true", "false"),
];

/// Keys that name a table, or say what others it has, and change nothing by themselves; and one that has one
/// value.
const NAMES: &[&str] = &["shard.cpu", "filter.kind", "sink.fallback"];

/// A core that this process may use.
fn cpu() -> usize {
    Config::embedded_default().shards[0].cpu
}

/// A configuration with this value of one key.
fn config(key: &str, kind: &str, value: &str) -> Config {
    let value = value.replace("CPU", &cpu().to_string());
    let (table, name) = key.rsplit_once('.').unwrap_or(("", key));
    let mut text = String::new();
    let mut put = |header: &str, of: &str, lines: &[(&str, String)]| {
        if header.is_empty() || of == table || !lines.is_empty() {
            if !header.is_empty() {
                let _ = writeln!(text, "{header}");
            }
            for (one, default) in lines.iter().filter(|(one, _)| of != table || *one != name) {
                let _ = writeln!(text, "{one} = {default}");
            }
            if of == table && value != "-" {
                let _ = writeln!(text, "{name} = {value}");
            }
        }
    };
    let given = |name: &'static str, value: &str| (name, value.to_owned());
    let mut top = vec![given("hostname", "\"mx.test\""), given("domains", "[\"x.test\"]")];
    if key == "recipients_down" {
        top.push(given("recipients", "\"ask\""));
    }
    put("", "", &top);
    put("[tls]", "tls", &[]);
    let is_self_signed = key == "tls.self_signed";
    if !is_self_signed {
        let files = [given("chain", "\"mx.pem\""), given("key", "\"mx.key\"")];
        put("[[tls.certificate]]", "tls.certificate", &files);
    }
    put("[[listener]]", "listener", &[given("address", "\"127.0.0.1:2525\"")]);
    let mut sink = vec![given("kind", &format!("\"{kind}\""))];
    if matches!(kind, "maildir" | "spool") {
        sink.push(given("path", "\"store\""));
    }
    if kind == "nats" {
        sink.extend([given("servers", "[\"nats://10.0.0.1\"]"), given("stream", "\"MAIL\"")]);
        if name.starts_with("tls_") && name != "tls_ca" {
            sink.extend([given("tls_certificate", "\"a.pem\""), given("tls_key", "\"a.key\"")]);
        }
    }
    put("[[sink]]", "sink", &sink);
    if table == "forward" || key == "recipients_down" {
        put("[[forward]]", "forward", &[given("to", "[\"lmtp://127.0.0.1:24\"]")]);
    }
    if table == "forward_queue" {
        let via = given("dsn_via", "\"smtp://127.0.0.1:25\"");
        put("[forward_queue]", "forward_queue", &[via]);
    }
    if table == "forward_admin" {
        put("[forward_admin]", "forward_admin", &[]);
    }
    put("[limits]", "limits", &[given("message_size_max", "\"1MiB\"")]);
    put("[shards]", "shards", &[]);
    put("[client_limits]", "client_limits", &[]);
    put("[auth]", "auth", &[]);
    if table == "shard" {
        put("[[shard]]", "shard", &[given("cpu", &cpu().to_string())]);
    }
    if table == "access" {
        let rule = [given("ehlo", "[\"z.test\"]"), given("action", "\"refuse\"")];
        put("[[access]]", "access", &rule);
    }
    if table == "dnsbl" {
        put("[[dnsbl]]", "dnsbl", &[given("zone", "\"x.test\"")]);
    }
    if table == "filter" {
        let place = [given("kind", "\"rspamd\""), given("url", "\"http://127.0.0.1\"")];
        let milter = [given("kind", "\"milter\"")];
        put("[[filter]]", "filter", if name == "socket" { &milter } else { &place });
    }
    put("[score]", "score", &[]);
    put("[early]", "early", &[]);
    put("[dns]", "dns", &[]);
    put("[log]", "log", &[]);
    for other in ["admin", "control"] {
        put(&format!("[{other}]"), other, &[]);
    }
    if table == "run_as" {
        put("[run_as]", "run_as", &[given("user", "\"nobody\"")]);
    }
    match config::parse(&text, "mx.toml", Path::new("/etc/ringmx")) {
        Ok((config, _)) => config,
        Err(problems) => panic!("{key} = {value}: {problems:?}\n{text}"),
    }
}

#[test]
fn every_key_is_taken_as_the_reference_claims() {
    let keys: Vec<String> = config::keys().map(|(key, _)| key).collect();
    let no_keys = ROWS.iter().filter(|row| !keys.iter().any(|key| key == row.0));
    let mut wrong: Vec<String> = no_keys.map(|row| format!("{}: there is no such key", row.0)).collect();
    for (key, claim) in config::keys() {
        let Some((_, kind, old, new)) = ROWS.iter().find(|row| row.0 == key) else {
            wrong.push(format!("{key}: there is no row for it in this test"));
            continue;
        };
        let Some(claim) = claim else {
            wrong.push(format!("{key}: its table does not say who takes a change (`reloads_but`)"));
            continue;
        };
        if NAMES.contains(&key.as_str())
            || (key == "shards.cpus" && config(&key, kind, old).shards.len() == 1)
        {
            continue;
        }
        let (running, new) = (config(&key, kind, old), config(&key, kind, new));
        let (taken, needs_restart) = new.taken_over(&running);
        let is_taken = format!("{taken:?}") != format!("{running:?}");
        let is_named = needs_restart.iter().any(|needed| needed.key == key);
        let others: Vec<_> = needs_restart.iter().filter(|needed| needed.key != key).collect();
        let is_true = match claim {
            TakenBy::Reload => is_taken && !is_named,
            TakenBy::Restart => !is_taken && is_named,
        };
        if !is_true || !others.is_empty() {
            wrong.push(format!(
                "{key}: the reference says {}; it is taken over: {is_taken}; it is named as one that needs a restart: {is_named}; \
                 others are named: {others:?}",
                claim.word()
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn what_needs_a_restart_is_named_with_both_values_and_its_place() {
    let needs = |key: &str, old: &str, new: &str| {
        let (_, needs) = config(key, "discard", new).taken_over(&config(key, "discard", old));
        needs.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    assert_eq!(
        needs("shards.buffers", "1024", "512"),
        ["shards.buffers (line 13) = 512; until then it is 1024"]
    );
    // How it is written makes no difference.
    assert_eq!(needs("shards.block_memory", "\"64MiB\"", "67108864"), [""; 0]);
    assert_eq!(needs("shards.buffers", "-", "1024"), [""; 0], "the default");
    let gone = needs("shard.buffers", "512", "-");
    assert_eq!(gone, [format!("shard.buffers of core {} = not given; until then it is 512", cpu())]);
}

#[test]
fn another_filter_needs_a_restart_and_says_which_one_it_is() {
    let filters = |tables: &str| {
        let text = format!(
            "hostname = \"mx.test\"\ndomains = [\"x.test\"]\n[[listener]]\naddress = \"127.0.0.1:2525\"\n[[sink]]\nkind = \"discard\"\n{tables}"
        );
        config::parse(&text, "mx.toml", Path::new("/etc/ringmx")).expect("a good one").0
    };
    let rspamd = "[[filter]]\nkind = \"rspamd\"\nurl = \"http://127.0.0.1\"\n";
    let milter = "[[filter]]\nkind = \"milter\"\nsocket = \"unix:/run/a\"\n";
    let running = filters(rspamd);
    let (taken, needs) = filters(milter).taken_over(&running);
    assert_eq!(taken.filters, running.filters);
    let needs: Vec<String> = needs.iter().map(ToString::to_string).collect();
    assert_eq!(
        needs[0], "filter.kind of [[filter]] 1 (line 8) = \"milter\"; until then it is \"rspamd\"",
        "{needs:?}"
    );
    let (taken, needs) = filters(&format!("{rspamd}{milter}")).taken_over(&running);
    assert_eq!(taken.filters, running.filters);
    assert!(needs.iter().all(|needed| needed.to_string().contains(" of [[filter]] 2 ")), "{needs:?}");
}

#[test]
fn messages_that_the_running_memory_cannot_hold_are_refused() {
    let running = config("shards.block_memory", "discard", "\"16MiB\"");
    let larger = config("limits.message_size_max", "discard", "\"50MiB\"");
    let (taken, _) = larger.taken_over(&running);
    let why = taken.check_memory_of_messages().expect_err("too large");
    assert!(why.contains("block_memory") && why.ends_with("restart, or leave this key as it was"), "{why}");
}

#[test]
fn a_sink_of_another_kind_changes_nothing_of_what_is_promised() {
    let running = config("sink.format", "stdout", "\"mbox\"");
    let (taken, needs) = config("sink.dsn", "spool", "true").taken_over(&running);
    assert!(!needs.is_empty() && !taken.sink.dsn);
    let offered = taken.extensions_of(&taken.listeners[0]);
    assert_eq!(offered, running.extensions_of(&running.listeners[0]), "mboxrd keeps no BINARYMIME");
}

/// A maildir with this `template`, for these domains; `more` of `[[sink]]`.
fn maildirs(domains: &str, template: &str, more: &str) -> Config {
    let text = format!(
        "hostname = \"mx.test\"\ndomains = {domains}\n[[listener]]\naddress = \"192.0.2.1:25\"\n[[sink]]\nkind = \"maildir\"\n\
         path = \"a\"\ntemplate = \"{template}\"\n{more}"
    );
    config::parse(&text, "mx.toml", Path::new("/etc/ringmx")).expect("a good one").0
}

#[test]
fn no_domain_is_taken_whose_mail_would_go_to_those_of_another() {
    let told = |(domains, template, more): (&str, &str, &str), running: &Config| {
        let (taken, needs) = maildirs(domains, template, more).taken_over(running);
        taken.check_domains_of_sink(running, &needs).err()
    };
    const LOCAL: &str = "{local}";
    const BOTH: &str = "{domain}/{local}";
    const TWO: &str = "[\"a.test\", \"b.test\"]";
    let running = maildirs("[\"a.test\"]", LOCAL, "");
    for domains in [TWO, "[\"b.test\"]", "[\"*.a.test\"]"] {
        let why = told((domains, BOTH, ""), &running).expect("refused");
        assert!(why.ends_with("restart, or leave this key as it was"), "{why}");
    }
    assert!(told((TWO, BOTH, "workers = 1\n"), &running).is_some());
    // As the file says, which has a warning of its own.
    assert_eq!(told((TWO, LOCAL, ""), &running), None);
    assert_eq!(told((TWO, LOCAL, "workers = 1\n"), &running), None);
    assert_eq!(told(("[\"a.test\"]", BOTH, ""), &running), None, "no domain is new");
    let running = maildirs(TWO, LOCAL, "");
    assert_eq!(told(("[\"a.test\"]", BOTH, ""), &running), None, "one less");
    let running = maildirs("[\"*.test\"]", LOCAL, "");
    assert_eq!(told((TWO, BOTH, ""), &running), None, "they were accepted before");
    let running = maildirs("[\"a.test\"]", BOTH, "");
    assert_eq!(told((TWO, LOCAL, ""), &running), None, "each has its own until the restart");
}

#[test]
fn what_the_running_sink_makes_of_the_new_recipients_is_told() {
    let running = maildirs("[\"x.test\"]", "{local}", "");
    let told = |new: Config| {
        let (taken, needs) = new.taken_over(&running);
        taken.warnings_of_sink(&needs)
    };
    assert_eq!(told(maildirs("[\"x.test\"]", "{local}", "")), []);
    let found = told(maildirs("[\"x.test\"]", "{local}", "create = true\n"));
    assert!(
        matches!(&found[..], [("recipients", text)] if text.contains("all other recipients are refused"))
    );
    let running = maildirs("[\"x.test\"]", "", "");
    let (taken, needs) = maildirs("[\"x.test\"]", "{local}", "").taken_over(&running);
    let found = taken.warnings_of_sink(&needs);
    assert!(
        matches!(&found[..], [("recipients", text)] if text.contains("every local-part of `domains` is taken"))
    );
}

#[test]
fn a_listener_of_the_service_manager_goes_on_where_it_may() {
    let running = maildirs("[\"x.test\"]", "", "");
    let mut new = config("domains", "discard", "[\"x.test\"]");
    let kept = new.keep_listener(&running.listeners[0]).expect("kept");
    assert_eq!(new.listeners.len(), 2);
    let told = kept.to_string();
    assert!(
        told.starts_with("listener.address of a socket of the service manager's = not given; until"),
        "{told}"
    );
    // An open relay for want of a line.
    let mut open = config("domains", "discard", "-");
    let why = open.keep_listener(&running.listeners[0]).expect_err("every domain");
    assert!(why.contains("without `domains`") && open.listeners.len() == 1, "{why}");
    let offers = config("listener.tls", "discard", "\"offered\"").listeners.remove(0);
    let mut plain = maildirs("[\"x.test\"]", "", "");
    assert!(plain.keep_listener(&offers).expect_err("no certificate").contains("without a certificate"));
}
