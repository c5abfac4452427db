//! The page of metrics, the alerts and the dashboard: made from what the code shows, and named so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use std::time::{Duration, Instant, SystemTime};

use ringmx::admin::exposition;
use ringmx::metrics::{DelayPart, DestinationShown, ForwardMetrics, HostShown, Registry, Shown, StationName};
use serde_json::Value;

fn root(path: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(path)
}

fn read(path: &str) -> String {
    fs::read_to_string(root(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn scrape(shards: usize, per_shard_histograms: bool) -> String {
    let registry = Registry::new(shards, "spool", 1);
    registry.spool().see(ringmx::metrics::SpoolValues::default());
    registry.set_certificates(vec![("a \"quoted\" \\ name\n".to_owned(), SystemTime::UNIX_EPOCH)]);
    registry.ask_lists(Box::new(|| vec![("a list".to_owned(), true)]));
    registry.add_station(StationName::Filter("rspamd".to_owned()));
    registry.add_station(StationName::NextHops);
    registry.add_station(StationName::Nats);
    let mut text = String::new();
    exposition::write(&registry.snapshot(), &mut text, per_shard_histograms);
    text
}

/// The scrape of a forwarder with so many destinations.
fn scrape_of_forwarder(destinations: usize) -> String {
    let names = (0..destinations).map(|number| format!("smtp://next-hop-{number}.example:25 \"quoted\" \\"));
    let metrics = ForwardMetrics::new("mx.example", names);
    let hosts = vec![HostShown {
        name: "smtp://a".to_owned(),
        state: "up",
        since: Instant::now(),
        why: "refused".to_owned(),
        next_probe: None,
        concurrency: 2,
        open: 1,
        busy: 1,
    }];
    let queue = ["fresh", "due", "waiting", "busy", "moving", "held"].map(|state| (state, 1)).to_vec();
    let one = DestinationShown { down_since: None, queue, oldest: Some(SystemTime::UNIX_EPOCH), hosts };
    metrics.show(Box::new(Shown { destinations: vec![one; destinations], window_bytes: 1 }));
    metrics.engine.delay(DelayPart::Queue, Duration::from_hours(100));
    let mut text = String::new();
    exposition::forward::write(&metrics.snapshot(), &mut text);
    text
}

/// All names with values of a scrape, those of histograms in each of their three forms.
fn names_of(text: &str) -> BTreeSet<String> {
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())).collect()
}

/// Those of both processes.
fn names() -> BTreeSet<String> {
    names_of(&scrape(2, false)).into_iter().chain(names_of(&scrape_of_forwarder(2))).collect()
}

#[test]
fn the_page_of_metrics_is_made_from_the_code() {
    let mut page = read("docs/metrics.md");
    for (heading, table) in [
        ("\n## All metrics\n", exposition::reference()),
        ("\n## All metrics of the forwarder\n", exposition::forward::reference()),
    ] {
        let section = page.find(heading).expect("the section");
        let begin = section + page[section..].find("| metric |").expect("its table");
        let end = page[begin..].find("\n\n").map_or(page.len(), |end| begin + end + 1);
        if std::env::var_os("UPDATE_DOCS").is_some() {
            page.replace_range(begin..end, &table);
            fs::write(root("docs/metrics.md"), &page).expect("docs/metrics.md written");
        } else {
            assert_eq!(
                page[begin..end],
                table,
                "docs/metrics.md lacks the table as it is now; UPDATE_DOCS=1 writes it"
            );
        }
    }
}

#[test]
fn every_metric_has_one_meaning_and_a_value() {
    let text = scrape(2, true);
    for text in [&text, &scrape_of_forwarder(2)] {
        let names = names_of(text);
        for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
            let (name, help) = line.split_once(' ').expect("a name and a meaning");
            assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1, "{name}");
            assert!(help.ends_with('.') && !help.contains(['\\', '\n', '|']), "{name}: {help}");
            let has_value = names.contains(name) || names.contains(&format!("{name}_count"));
            assert!(has_value, "{name} has no value");
        }
    }
    assert!(text.contains(r#"name="a \"quoted\" \\ name\n""#), "a label is quoted");
    assert!(!text.contains("shard=\"2\"") && text.contains("shard=\"1\""));
}

#[test]
fn a_destination_is_a_label_by_its_name_and_what_waited_for_days_is_counted() {
    let text = scrape_of_forwarder(2);
    let name = r#"destination="smtp://next-hop-1.example:25 \"quoted\" \\""#;
    assert!(
        text.contains(&format!("ringmx_forward_results_total{{{name},result=\"delivered\"}} 0")),
        "{text}"
    );
    assert!(
        text.contains("ringmx_forward_delay_seconds_bucket{part=\"queue\",le=\"536.870912\"} 0"),
        "{text}"
    );
    assert!(text.contains("ringmx_forward_delay_seconds_bucket{part=\"queue\",le=\"+Inf\"} 1"), "{text}");
    assert!(text.contains("ringmx_forward_delay_seconds_sum{part=\"queue\"} 360000"), "{text}");
}

/// A scrape of so many cores stays below 64 KiB, values of many digits included.
#[test]
fn a_scrape_of_sixteen_shards_is_small() {
    const DIGITS: usize = 10;
    let text = scrape(16, false);
    // Mail is handed to next hops, or to a cluster.
    let text: String = text.split_inclusive('\n').filter(|line| !line.contains("ringmx_nats_")).collect();
    let values = text.lines().filter(|line| !line.starts_with('#')).count();
    assert!(text.len() + values * DIGITS <= 64 * 1024, "{} octets, {values} values", text.len());
}

/// Every name in a text that looks like one of a metric.
fn mentioned(text: &str) -> BTreeSet<String> {
    let of_name = |octet: char| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == '_';
    let places = text.match_indices("ringmx_").map(|(place, _)| &text[place..]);
    places.map(|rest| rest.split(|octet| !of_name(octet)).next().unwrap_or_default().to_owned()).collect()
}

#[test]
fn alerts_and_dashboard_name_what_there_is() {
    let names = names();
    let dashboard = read("tuning/grafana/ringmx.json");
    let parsed: Value = serde_json::from_str(&dashboard).expect("JSON");
    let panels = parsed["panels"].as_array().expect("panels");
    assert!(panels.len() > 20);
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "each panel has a number of its own");
    for rules in RULES {
        let text = read(&format!("tuning/prometheus/{rules}.yml"))
            + &read(&format!("tuning/prometheus/{rules}.test.yml"));
        for name in mentioned(&text) {
            assert!(names.contains(&name), "{rules}: there is no {name}");
        }
    }
    let shown = mentioned(&dashboard);
    for name in &shown {
        assert!(names.contains(name), "the dashboard: there is no {name}");
    }
    // What is counted and shown nowhere is of no use to anybody.
    let family = |name: &str| {
        let suffix = ["_bucket", "_sum", "_count"].into_iter().find_map(|suffix| name.strip_suffix(suffix));
        suffix.unwrap_or(name).to_owned()
    };
    let shown: BTreeSet<String> = shown.iter().map(|name| family(name)).collect();
    for name in &names {
        assert!(shown.contains(&family(name)), "{name} is not in the dashboard");
    }
}

/// Alerts for the receiver and for the forwarder.
const RULES: [&str; 2] = ["ringmx.rules", "ringmx-forward.rules"];

#[test]
fn every_alert_is_tried_out() {
    for rules in RULES {
        let path = |file: &str| format!("tuning/prometheus/{file}.yml");
        let (text, tests) = (read(&path(rules)), read(&path(&format!("{rules}.test"))));
        let alerts: Vec<&str> =
            text.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
        assert!(alerts.len() > 5);
        for alert in alerts {
            assert!(tests.contains(alert), "{alert} is not tried out");
        }
        try_out(rules);
    }
}

fn try_out(rules: &str) {
    for (command, file) in [("check", format!("{rules}.yml")), ("test", format!("{rules}.test.yml"))] {
        let arguments = [command, "rules", &file];
        let output = Command::new("promtool").args(arguments).current_dir(root("tuning/prometheus")).output();
        match output {
            Ok(output) => {
                assert!(
                    output.status.success(),
                    "{arguments:?}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            }
            Err(error) => {
                assert!(std::env::var_os("CI").is_none(), "promtool: {error}; apt-get install prometheus");
                println!("skipped: promtool: {error} (apt-get install prometheus)");
            }
        }
    }
}
