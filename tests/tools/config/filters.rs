//! `[[filter]]`: what is read of a table, and what no table can say.

use std::path::Path;
use std::time::Duration;

use ringmx::config::{FilterFailure, FilterKind, FilterSkip, MapAddress};

use super::{REST, assert_problems, assert_warnings, good};

const RSPAMD: &str = "kind = \"rspamd\"\nurl = \"http://127.0.0.1:11333\"\n";

/// What an rspamd has a use for.
const NAMES: &str = "[early]\nreverse_dns = \"mark\"\n";

/// A table with these lines, which begin in the line 6.
fn table(lines: &str) -> String {
    format!("{REST}[[filter]]\n{lines}\n{NAMES}")
}

#[test]
fn filters_are_asked_in_the_order_of_their_tables() {
    let config = good(&format!(
        "{}[[filter]]\nkind = \"milter\"\nname = \"dkim-2\"\nsocket = \"unix:dkim.sock\"\nadd_fields = false\nskip = \"nobody\"\n\
         bytes_max = \"1MiB\"\ntimeout = \"5s\"\non_failure = \"accept\"\nconnections_max = 3\n",
        table(&format!("{RSPAMD}settings_id = \"mx\"\npassword_file = \"rspamd.password\""))
    ));
    let [first, second] = &config.filters[..] else { panic!("two of them: {:?}", config.filters) };
    assert_eq!(first.name, "rspamd", "its kind");
    let FilterKind::Rspamd(rspamd) = &first.kind else { panic!("{first:?}") };
    assert_eq!(rspamd.address, MapAddress::Tcp(vec!["127.0.0.1:11333".parse().expect("an address")]));
    assert_eq!((rspamd.host.as_str(), rspamd.settings_id.as_deref()), ("127.0.0.1:11333", Some("mx")));
    assert_eq!(rspamd.password_file.as_deref(), Some(Path::new("/etc/ringmx/rspamd.password")));
    assert_eq!((first.skip, first.on_failure), (FilterSkip::Trusted, FilterFailure::Tempfail));
    assert_eq!((first.bytes_max, first.timeout), (50 << 20, Duration::from_secs(30)));
    assert_eq!((first.connections_max, first.add_fields), (100, true));
    assert_eq!((second.name.as_str(), second.kind.place()), ("dkim-2", "unix:dkim.sock"));
    assert_eq!(second.kind.address(), &MapAddress::Unix("/etc/ringmx/dkim.sock".into()));
    assert_eq!((second.skip, second.on_failure), (FilterSkip::Nobody, FilterFailure::Accept));
    assert_eq!((second.bytes_max, second.timeout), (1 << 20, Duration::from_secs(5)));
    assert_eq!((second.connections_max, second.add_fields), (3, false));
    assert_eq!(good(&table(&format!("{RSPAMD}settings_id = \"\""))).filters.len(), 1, "an empty one is none");
    assert_eq!(good(REST).filters, []);
}

#[test]
fn a_filter_says_what_it_is_and_where() {
    for (lines, problems) in [
        ("", &[":5: filter.kind: missing; write for example kind = \"rspamd\""][..]),
        ("kind = \"spamd\"", &[":6: filter.kind: \"spamd\" is none of \"rspamd\" or \"milter\""]),
        (
            "kind = \"rspamd\"",
            &[":5: filter.url: missing; write for example url = \"http://127.0.0.1:11333\""],
        ),
        (
            "kind = \"milter\"",
            &[":5: filter.socket: missing; write for example socket = \"unix:/run/opendkim/opendkim.sock\""],
        ),
        (
            "kind = \"milter\"\nsocket = \"unix:/run/a\"\nurl = \"http://127.0.0.1\"\nsettings_id = \"a\"\npassword_file = \"a\"",
            &[
                ":8: filter.url: this key is for a filter of kind \"rspamd\"",
                ":9: filter.settings_id: this key is for a filter of kind \"rspamd\"",
                ":10: filter.password_file: this key is for a filter of kind \"rspamd\"",
            ],
        ),
        (
            "kind = \"rspamd\"\nsocket = \"unix:/run/a\"",
            &[
                ":5: filter.url: missing; write for example url = \"http://127.0.0.1:11333\"",
                ":7: filter.socket: this key is for a filter of kind \"milter\"",
            ],
        ),
        (
            "kind = \"rspamd\"\nurl = \"127.0.0.1:11333\"",
            &[
                ":7: filter.url: \"127.0.0.1:11333\" is no place of an rspamd; write \"http://HOST:PORT\", or \"unix:PATH\"",
            ],
        ),
        (
            "kind = \"rspamd\"\nurl = \"https://127.0.0.1\"",
            &[
                ":7: filter.url: \"https://127.0.0.1\": rspamd is asked without TLS, on this machine or near it; write \
                 \"http://HOST:PORT\", or \"unix:PATH\"",
            ],
        ),
        (
            "kind = \"rspamd\"\nurl = \"http://rspamd.test\"",
            &[":7: filter.url: \"rspamd.test\" is no IP address, nor localhost; write its address"],
        ),
        (
            "kind = \"milter\"\nsocket = \"/run/a\"",
            &[
                ":7: filter.socket: \"/run/a\" is no place of a milter; write \"unix:PATH\", or \"inet:PORT@HOST\"",
            ],
        ),
    ] {
        assert_problems(&table(lines), problems);
    }
}

#[test]
fn values_of_a_filter_are_told_what_is_allowed() {
    for (line, problem) in [
        ("name = \"Rspamd\"", "name: \"Rspamd\" is no name: it has 1 to 32 of a to z, 0 to 9, - and _"),
        ("name = \"\"", "name: \"\" is no name: it has 1 to 32 of a to z, 0 to 9, - and _"),
        (
            "settings_id = \"a b\"",
            "settings_id: \"a b\" is no name: it has at most 100 ASCII letters, digits or signs",
        ),
        ("password_file = \"\"", "password_file: the path is empty"),
        ("add_fields = 1", "add_fields: expected true or false; this is an integer"),
        ("skip = \"all\"", "skip: \"all\" is none of \"trusted\" or \"nobody\""),
        ("bytes_max = 1", "bytes_max: 1 is too little; allowed is 1KiB to 2GiB"),
        ("timeout = \"6min\"", "timeout: 360s is too much; allowed is 100ms to 300s"),
        ("on_failure = \"reject\"", "on_failure: \"reject\" is none of \"tempfail\" or \"accept\""),
        ("connections_max = 0", "connections_max: 0 is too little; allowed is 1 to 1000"),
        ("score = 3", "score: this key is unknown; known here: name, kind, url"),
    ] {
        let text = table(&format!("{RSPAMD}{line}"));
        let found = super::parsed(&text).expect_err("a problem");
        let whole = format!("mx.toml:8: filter.{problem}");
        assert!(found.len() == 1 && found[0].starts_with(&whole), "{found:?} is not {whole}");
    }
}

#[test]
fn no_two_filters_have_one_name() {
    let second = "[[filter]]\nkind = \"milter\"\nsocket = \"unix:/run/a\"\nname = \"rspamd\"\n";
    let why = "filter.name: another filter has the name \"rspamd\"; give this one a `name` of its own";
    assert_problems(&format!("{}{second}", table(RSPAMD)), &[&format!(":14: {why}")]);
    assert_problems(&format!("{}[[filter]]\n{RSPAMD}", table(RSPAMD)), &[&format!(":11: {why}")]);
}

#[test]
fn filters_leave_time_for_the_store() {
    let slow = format!("{RSPAMD}timeout = \"150s\"\n");
    let two =
        |more: &str| format!("{}[[filter]]\nname = \"b\"\n{RSPAMD}timeout = \"{more}\"\n", table(&slow));
    assert_warnings(&two("150s"), &[]);
    assert_warnings(
        &two("151s"),
        &[
            ":5: filter: the times of all filters come to 301 s, and SMTP clients give up after ten minutes (RFC 5321 §4.5.3.2.6) or \
             sooner: lower them to 300 s together",
        ],
    );
    let next_hop = format!(
        "{}[[filter]]\n{RSPAMD}timeout = \"61s\"\n{NAMES}[forward_queue]\ndsn = \"all\"\ndsn_via = \"smtp://127.0.0.1:27\"\n",
        "[[listener]]\naddress = \"127.0.0.1:0\"\n[[sink]]\nkind = \"forward\"\nfallback = \"spool\"\npath = \"spool\"\n\
         [[forward]]\nto = [\"smtp://127.0.0.1:25\"]\n"
    );
    assert_warnings(
        &next_hop,
        &[
            ":9: filter: the times of all filters come to 61 s, the next hop and the spool have four minutes each, and SMTP clients give \
             up after ten minutes (RFC 5321 §4.5.3.2.6) or sooner: lower them to 60 s together",
        ],
    );
    let unknown = ":5: filter: rspamd is told no client's name by its address, because `[early] reverse_dns` is off, and by its own \
                   rules counts that against every client; write reverse_dns = \"mark\" there";
    assert_warnings(&table(RSPAMD).replace(NAMES, ""), &[unknown]);
    let milter = "kind = \"milter\"\nsocket = \"unix:/run/a\"";
    assert_warnings(&table(milter).replace(NAMES, ""), &[]);
    let ninth = (0..9).map(|number| format!("[[filter]]\nname = \"f{number}\"\n{RSPAMD}timeout = \"1s\"\n"));
    let text = format!("{REST}{}", ninth.collect::<String>());
    assert_problems(&text, &[":47: filter.kind: more than 8 filters are asked about no message"]);
}
