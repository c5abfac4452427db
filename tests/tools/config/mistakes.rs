//! What is no configuration: each mistake is told with its line, and with what is right.

use ringmx::config;

use ringmx::config::forward::{Dsn, HopTls};

use super::{REST, assert_problems, assert_warnings, good};

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
            ":1: message_size_max: `message_size_max` belongs in [limits]",
            ":2: hostnme: this key is unknown; did you mean `hostname`?",
            ":3: colour: this key is unknown; known here: hostname, domains, domains_without_mail, recipients, \
             recipients_down, aliases, postmaster, local_part_case_sensitive, recipient_delimiter, local_part_deny, local_part_leading_dot, tls, listener, sink, \
             limits, shards, shard, dns, client_limits, auth, access, dnsbl, score, early, filter, log, run_as, admin, control, \
             forward, forward_queue, forward_admin",
            ":4: buffers: `buffers` belongs in [shards] or in [[shard]]",
            ":9: limit: this key is unknown; did you mean `limits`?",
        ],
    );
    assert_problems(
        &format!("{REST}hostname = \"a.example\"\nworker = 2\n\"a\\nb\" = 1\n"),
        &[
            ":5: sink.hostname: `hostname` belongs at the top of the file",
            ":6: sink.worker: this key is unknown; did you mean `workers`?",
            ":7: sink.a\\nb: this key is unknown; known here: kind, path, workers, template, create, line_endings, quarantine, sync, \
             mode, group, segment_size, direct_writes, space_reserve, format, servers, stream, replicas_min, bytes_max, subject, \
             partitions, credentials, tls_ca, tls_certificate, tls_key, monitor, window, dsn, requiretls, fallback",
        ],
    );
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
            ":14: limits.command_timeout: 300 has no unit; write ms, s, min, h or d behind it, for instance \"300s\"; \
             allowed is 1s to 1h",
            ":15: limits.data_timeout: 2h is too much; allowed is 1s to 1h",
            ":17: log.format: \"xml\" is none of \"text\" or \"json\"",
        ],
    );
}

#[test]
fn a_mode_and_a_group_are_what_files_can_have() {
    let maildir =
        |keys: &str| format!("{}path = \"x\"\n{keys}\n", REST.replace("\"discard\"", "\"maildir\""));
    for (keys, expected) in [
        ("mode = 660", ":6: sink.mode: expected a string: octal digits in quotes; this is an integer"),
        (
            "mode = \"rw-rw----\"",
            ":6: sink.mode: \"rw-rw----\" is no mode; write three or four octal digits, such as \"0660\"",
        ),
        (
            "mode = \"0o660\"",
            ":6: sink.mode: \"0o660\" is no mode; write three or four octal digits, such as \"0660\"",
        ),
        (
            "mode = \"0680\"",
            ":6: sink.mode: \"0680\" is no mode; write three or four octal digits, such as \"0660\"",
        ),
        (
            "mode = \"2770\"",
            ":6: sink.mode: \"2770\" holds more than reading and writing; directories get what they need besides by themselves",
        ),
        (
            "mode = \"0060\"",
            ":6: sink.mode: \"0060\" keeps ringmx itself out; the first digit that counts must be 6",
        ),
        ("mode = \"0620\"", ":6: sink.mode: \"0620\" lets somebody write who may not read"),
        (
            "group = \"\"",
            ":6: sink.group: \"\" is no name of a group; write for example \"vmail\", or its number in quotes",
        ),
        ("group = 5000", ":6: sink.group: expected a string: name or number of a group; this is an integer"),
    ] {
        assert_problems(&maildir(keys), &[expected]);
    }
    assert_problems(
        &format!("{REST}mode = \"0660\"\n"),
        &[":5: sink.mode: this key is for a sink of kind \"maildir\""],
    );
    assert_warnings(
        &maildir("mode = \"0644\""),
        &[
            ":6: sink.mode: every user of this machine may read this mail; give it to a `group` instead, and write mode = \"0660\"",
        ],
    );
    assert_warnings(
        &maildir("mode = \"600\"\ngroup = \"vmail\""),
        &[":6: sink.mode: the `group` may not even read with this mode; write mode = \"0660\""],
    );
    assert_warnings(&maildir("mode = \"0660\"\ngroup = \"5000\""), &[]);
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
fn notices_need_somebody_who_takes_them_and_somebody_who_vouches() {
    let of = |sink: &str, queue: &str| {
        format!(
            "domains = [\"x.test\"]\n[[listener]]\naddress = \"127.0.0.1:2525\"\n[[sink]]\nkind = \"spool\"\npath = \"s\"\n{sink}\n\
             [[forward]]\nto = [\"smtp://10.0.0.5\"]\n[forward_queue]\n{queue}"
        )
    };
    let via = "dsn_via = \"smtp://10.0.0.9:25\"\n";
    let dsn = |word: &str| format!("{via}dsn = \"{word}\"\n");
    let auth = "[auth]\n[dns]\nservers = [\"127.0.0.1:53\"]\n";
    for (sink, queue, expected) in [
        ("", dsn("all"), Dsn::All),
        ("dsn = true", dsn("all"), Dsn::All),
        ("", format!("{}{auth}", dsn("authenticated")), Dsn::Authenticated),
        ("", format!("{via}{auth}"), Dsn::Authenticated),
        ("dsn = true", format!("{via}{auth}"), Dsn::Authenticated),
    ] {
        let found = good(&of(sink, &queue)).forward.queue;
        assert_eq!(
            (found.dsn, found.dsn_via.map(|via| via.to_string())),
            (expected, Some("smtp://10.0.0.9:25".into()))
        );
    }
    let off = ": forward_queue.dsn: no sender is told of mail that cannot be delivered, as RFC 5321 §6.1 asks for; set dsn and dsn_via";
    assert_warnings(&of("", ""), &[&format!(":10{off}")]);
    assert_warnings(&of("", &dsn("off")), &[&format!(":12{off}")]);
    assert_warnings(&of("", via), &[&format!(":10{off}")]);
    assert_warnings(&of("", auth), &[&format!(":10{off}")]);
    assert_problems(
        &of("", "dsn = \"all\"\n"),
        &[
            ":10: forward_queue.dsn_via: missing: ringmx keeps no queue to the Internet, so notices need a server that brings them to their senders; \
           write for example dsn_via = \"smtp://10.0.0.9:25\"",
        ],
    );
    let unvouched = ": forward_queue.dsn: nobody vouches for senders, so none would get a notice: there is no [auth] with SPF or DMARC";
    assert_problems(&of("", &dsn("authenticated")), &[&format!(":12{unvouched}")]);
    let without =
        "[auth]\nspf = \"off\"\ndmarc = \"off\"\ndkim = \"mark\"\n[dns]\nservers = [\"127.0.0.1:53\"]\n";
    assert_problems(&of("", &format!("{}{without}", dsn("authenticated"))), &[&format!(":12{unvouched}")]);
    assert_problems(
        &of("dsn = true", via),
        &[
            ":10: forward_queue.dsn: `dsn` of [[sink]] promises notices (RFC 3461), and `ringmx forward` sends none: set dsn and \
           dsn_via here, or leave that key out",
        ],
    );
    assert_problems(
        &of("", "dsn_via = \"10.0.0.9\"\n"),
        &[
            ":11: forward_queue.dsn_via: \"10.0.0.9\" is no next hop; write \"lmtp://unix:PATH\", \"lmtp://HOST:PORT\" or \
           \"smtp://HOST:PORT\"",
        ],
    );
}

#[test]
fn mail_goes_by_mx_for_domains_that_are_named_and_to_nobody_else() {
    let of = |route: &str| {
        format!(
            "domains = [\"x.test\"]\n[[listener]]\naddress = \"127.0.0.1:2525\"\n[[sink]]\nkind = \"spool\"\npath = \"s\"\n\
             [[forward]]\n{route}\n[[forward]]\nto = [\"smtp://10.0.0.5\"]\n[forward_queue]\n\
             dsn = \"all\"\ndsn_via = \"smtp://10.0.0.9\"\n"
        )
    };
    let named = "domains = [\"X.test\", \"y.test\", \"x.test\"]\n";
    let routes = good(&of(&format!("{named}to = [\"mx\"]\ntls = \"required\""))).forward.routes;
    let hops: Vec<String> = routes.iter().map(|route| route.to[0].to_string()).collect();
    assert_eq!(hops, ["mx:x.test", "mx:y.test", "smtp://10.0.0.5:25"], "each domain once");
    assert!(routes.iter().all(|route| route.to.len() == 1));
    assert!(routes[..2].iter().all(|route| route.tls == HopTls::Required && route.domains.len() == 1));
    for (route, problem) in [
        (
            "to = [\"mx\"]".to_owned(),
            ":7: forward.domains: missing: mail goes by MX only for domains that are named; write for example domains = \
             [\"example.org\"]",
        ),
        (
            "domains = [\"x.test\", \"*.y.test\"]\nto = [\"mx\"]".to_owned(),
            ":8: forward.domains: \"*.y.test\" is no single domain, and each has an MX of its own; with \"mx\" name each domain",
        ),
        (
            format!("{named}to = [\"mx\", \"lmtp://10.0.0.5\"]"),
            ":9: forward.to: \"mx\" stands alone: it is the servers that the DNS names for each domain; write other next hops in a \
             [[forward]] of their own",
        ),
        (
            format!("{named}to = [\"mx\", \"mx:2525\"]"),
            ":9: forward.to: \"mx\" stands alone: it is the servers that the DNS names for each domain; write other next hops in a \
             [[forward]] of their own",
        ),
        (
            format!("{named}to = [\"lmtp://mx\", \"mx:0\"]"),
            ":9: forward.to: \"mx:0\" names no port; write \"mx\", or \"mx:PORT\"",
        ),
        (
            format!("{named}to = [\"mx\"]\nxclient = true"),
            ":10: forward.xclient: servers of others are told of no client: leave it out with \"mx\"",
        ),
        (
            format!(
                "domains = {:?}\nto = [\"mx\"]",
                (0..1001).map(|number| format!("n{number}.test")).collect::<Vec<_>>()
            ),
            ":8: forward.domains: 1001 are named; with \"mx\" 1000 are allowed",
        ),
    ] {
        assert_problems(&of(&route), &[problem]);
    }
    assert_warnings(
        &of(&format!("{named}to = [\"mx\"]\nbalance = \"spread\"")),
        &[":10: forward.balance: it has no effect with \"mx\": the preference of the MX records counts"],
    );
}
