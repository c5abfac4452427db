//! The page of metrics, the alerts and the dashboard: made from what the code shows, and named so.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use ringmx::admin::exposition;
use ringmx::metrics::Registry;
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
    registry.set_certificates(vec![("a \"quoted\" \\ name\n".to_owned(), std::time::SystemTime::UNIX_EPOCH)]);
    registry.ask_lists(Box::new(|| vec![("a list".to_owned(), true)]));
    let mut text = String::new();
    exposition::write(&registry.snapshot(), &mut text, per_shard_histograms);
    text
}

/// All names with values, those of histograms in each of their three forms.
fn names() -> BTreeSet<String> {
    let text = scrape(2, false);
    let samples = text.lines().filter(|line| !line.starts_with('#'));
    samples.filter_map(|line| Some(line.split(['{', ' ']).next()?.to_owned())).collect()
}

#[test]
fn the_page_of_metrics_is_made_from_the_code() {
    let page = read("docs/metrics.md");
    let table = exposition::reference();
    assert!(page.contains(&table), "docs/metrics.md lacks the table as it is now:\n{table}");
}

#[test]
fn every_metric_has_one_meaning_and_a_value() {
    let text = scrape(2, true);
    let names = names();
    for line in text.lines().filter_map(|line| line.strip_prefix("# HELP ")) {
        let (name, help) = line.split_once(' ').expect("a name and a meaning");
        assert_eq!(text.matches(&format!("# HELP {name} ")).count(), 1, "{name}");
        assert!(help.ends_with('.') && !help.contains(['\\', '\n', '|']), "{name}: {help}");
        let has_value = names.contains(name) || names.contains(&format!("{name}_count"));
        assert!(has_value, "{name} has no value");
    }
    assert!(text.contains(r#"name="a \"quoted\" \\ name\n""#), "a label is quoted");
    assert!(!text.contains("shard=\"2\"") && text.contains("shard=\"1\""));
}

/// A scrape of so many cores stays below 64 KiB, values of many digits included.
#[test]
fn a_scrape_of_sixteen_shards_is_small() {
    const DIGITS: usize = 10;
    let text = scrape(16, false);
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
    for file in ["tuning/prometheus/ringmx.rules.yml", "tuning/prometheus/ringmx.rules.test.yml"] {
        for name in mentioned(&read(file)) {
            assert!(names.contains(&name), "{file}: there is no {name}");
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

#[test]
fn every_alert_is_tried_out() {
    let (rules, tests) =
        (read("tuning/prometheus/ringmx.rules.yml"), read("tuning/prometheus/ringmx.rules.test.yml"));
    let alerts: Vec<&str> = rules.lines().filter_map(|line| line.trim().strip_prefix("- alert: ")).collect();
    assert!(alerts.len() > 10);
    for alert in alerts {
        assert!(tests.contains(alert), "{alert} is not tried out");
    }
    for arguments in [["check", "rules", "ringmx.rules.yml"], ["test", "rules", "ringmx.rules.test.yml"]] {
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
