//! `[[sink]]`: its kinds, and what each has for itself.

use ringmx::config::SinkKind;
use ringmx::smtp::extension::{Extension, ExtensionSet};

use super::{REST, assert_problems, good};

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
        &[
            ":4: sink.kind: \"file\" is none of \"maildir\" or \"spool\" or \"forward\" or \"nats\" or \"stdout\" or \"discard\"",
        ],
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
            ":5: sink.path: this key is for a sink of kind \"maildir\" or \"spool\" or \"forward\" or \"nats\"",
            ":6: sink.template: this key is for a sink of kind \"maildir\"",
            ":7: sink.segment_size: this key is for a sink of kind \"spool\" or \"forward\" or \"nats\"",
            ":8: sink.create: this key is for a sink of kind \"maildir\" or \"nats\"",
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
fn promises_are_offered_only_where_they_are_kept() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:2525\"\n";
    let spool = format!("{listener}[[sink]]\nkind = \"spool\"\npath = \"p\"\n");
    let extensions = |keys: &str| {
        let config = good(&format!("{spool}{keys}"));
        config.extensions_of(&config.listeners[0])
    };
    assert_eq!(extensions("dsn = true\nrequiretls = true\n"), ExtensionSet::all());
    assert_eq!(extensions("dsn = false\n"), ExtensionSet::usual());
    assert_eq!(extensions("dsn = true\n"), ExtensionSet::all().without(Extension::RequireTls));
    let mbox = good(&format!("{listener}[[sink]]\nkind = \"stdout\"\nformat = \"mbox\"\n"));
    assert_eq!(mbox.extensions_of(&mbox.listeners[0]), ExtensionSet::usual().without(Extension::BinaryMime));
    for kind in ["maildir\"\npath = \"p", "stdout", "discard"] {
        let text = format!("{listener}[[sink]]\ndsn = true\nkind = \"{kind}\"\n");
        assert_problems(
            &text,
            &[":4: sink.dsn: nobody behind this kind of sink sends the notifications that DSN promises; \
               only a spool may have it"],
        );
    }
}

#[test]
fn a_sink_that_hands_mail_on_has_a_store_for_the_rest_and_a_next_hop_whose_address_is_written() {
    let listener = "[[listener]]\naddress = \"127.0.0.1:2525\"\n";
    let config = |sink: &str, routes: &str| format!("{listener}[[sink]]\nkind = \"forward\"\n{sink}{routes}");
    let whole = "fallback = \"spool\"\npath = \"p\"\n";
    let route = |to: &str| format!("[[forward]]\nto = [{to}]\n");
    let direct = route("\"smtp://127.0.0.1:2526\"");
    let of = |text: &str| super::parsed(text).expect("a good configuration").0;
    let good = of(&config(whole, &direct));
    assert!(matches!(good.sink.kind, SinkKind::Spool(_)) && good.sink.cut_through);
    let routes = good.cut_through.as_ref().expect("some");
    assert_eq!((routes.len(), routes[0].to.len(), good.stations()), (1, 1, 1));
    // Mail of a route whose names are looked up, or whose maildirs are written, always goes to the spool.
    let some = format!(
        "{}{direct}",
        route("\"smtp://mail.test:25\"").replace("to =", "domains = [\"a.test\"]\nto =")
    );
    let some = of(&config(whole, &some));
    let ends: Vec<usize> = some.cut_through.iter().flatten().map(|route| route.to.len()).collect();
    assert_eq!(ends, [0, 1]);
    let nobody = "a message can be handed on before its client is answered only to a next hop whose address is written in `to` of \
                  [[forward]], and there is none: write one as \"smtp://10.0.0.5:25\" or \"lmtp://unix:PATH\", or kind = \"spool\"";
    for to in ["\"smtp://mail.test:25\"", "\"maildir:/m\"", "\"smtp://127.0.0.1:25\", \"smtp://mail.test\""] {
        assert_problems(&config(whole, &route(to)), &[&format!(":3: sink: {nobody}")]);
    }
    assert_problems(&config(whole, ""), &[&format!(":3: sink: {nobody}")]);
    assert_problems(
        &config("path = \"p\"\n", &direct),
        &[":3: sink.fallback: missing; write fallback = \"spool\""],
    );
    assert_problems(
        &config("fallback = \"spool\"\n", &direct),
        &[
            ":3: sink.path: missing; this sink stores into a directory, write for example path = \"ringmx-data\"",
        ],
    );
    assert_problems(
        &config("fallback = \"maildir\"\npath = \"p\"\n", &direct),
        &[":5: sink.fallback: \"maildir\" is none of \"spool\""],
    );
}

#[test]
fn a_cluster_has_servers_and_a_stream_and_a_spool_is_recommended() {
    let config =
        |keys: &str| format!("[[listener]]\naddress = \"127.0.0.1:2525\"\n[[sink]]\nkind = \"nats\"\n{keys}");
    let whole = "servers = [\"nats://10.0.0.1\", \"tls://10.0.0.2:4223\"]\nstream = \"MAIL\"\n";
    let spool = "fallback = \"spool\"\npath = \"p\"\n";
    let of = |text: &str| super::parsed(text).expect("a good configuration");
    let (alone, warnings) = of(&config(whole));
    assert!(matches!(alone.sink.kind, SinkKind::Nats(_)));
    assert!(warnings.iter().any(|text| text.contains("write fallback = \"spool\"")), "{warnings:?}");
    let (pair, warnings) = of(&config(&format!("{whole}{spool}")));
    assert!(matches!(pair.sink.kind, SinkKind::Spool(_)) && !pair.sink.cut_through);
    assert!(!warnings.iter().any(|text| text.contains("fallback")), "{warnings:?}");
    let cluster = pair.nats.as_ref().expect("a cluster");
    let servers: Vec<_> = cluster.servers.iter().map(ToString::to_string).collect();
    assert_eq!(servers, ["nats://10.0.0.1:4222", "tls://10.0.0.2:4223"]);
    assert_eq!((cluster.replicas_min, cluster.partitions, cluster.window), (3, 1, 1024));
    assert_eq!(
        (cluster.subject.as_str(), cluster.creates, cluster.has_fallback),
        ("mail.default", false, true)
    );
    assert_eq!((pair.stations(), pair.station_connections_max()), (1, 1));
    assert_problems(
        &config(""),
        &[
            ":3: sink.servers: missing; write for example servers = [\"nats://10.0.0.1:4222\"]",
            ":3: sink.stream: missing; write for example stream = \"MAIL\"",
        ],
    );
    let behind = "this key is for the spool behind the stream; write fallback = \"spool\"";
    assert_problems(
        &config(&format!("{whole}path = \"p\"\nsegment_size = \"1MiB\"\n")),
        &[&format!(":7: sink.path: {behind}"), &format!(":8: sink.segment_size: {behind}")],
    );
    assert_problems(
        &config(&format!("{whole}fallback = \"spool\"\n")),
        &[
            ":3: sink.path: missing; this sink stores into a directory, write for example path = \"ringmx-data\"",
        ],
    );
    assert_problems(
        &config(&format!("{whole}{spool}tls_key = \"k\"\nreplicas_min = 6\nsubject = \"mail.>\"\n")),
        &[
            ":3: sink.tls_certificate: missing; `tls_key` is there, and it needs its other half",
            ":10: sink.replicas_min: 6 is too much; allowed is 1 to 5",
            ":11: sink.subject: \"mail.>\" is no beginning of a subject: write tokens of ASCII letters, digits, - and _ with dots between \
             them",
        ],
    );
    assert_problems(
        &config(&format!("{spool}stream = \"MAIL\"\nservers = [\"nats://mx.test:4222\"]\n")),
        &[
            ":8: sink.servers: \"nats://mx.test:4222\" is no server; write \"nats://HOST:PORT\" or \"tls://HOST:PORT\", with an IP address \
           or localhost",
        ],
    );
    assert_problems(
        "[[listener]]\naddress = \"127.0.0.1:2525\"\n[[sink]]\nkind = \"spool\"\npath = \"p\"\nstream = \"MAIL\"\n",
        &[":6: sink.stream: this key is for a sink of kind \"nats\""],
    );
}
