//! Open files and the size of files against what the configuration may need.

use super::{sysctl_line, unit_line};
use crate::config::Config;
use crate::dns::lookup::SOCKETS_MAX;
use crate::doctor::finding::{Finding, Severity};
use crate::doctor::host::Host;
use crate::limits::REFUSED_CONNECTIONS_MAX;
use crate::sink::file_limit;

/// What a process has open besides, and some to spare: standard streams, rings, doorbells, the store's files,
/// certificates.
const OTHERS: u64 = 128;

/// Each connection, each spill file and each question to the DNS is an open file.
pub(in crate::doctor) fn check_open_files(host: &Host, config: &Config) -> Option<Finding> {
    let limit = host.open_files_max?;
    let wanted = wanted(config);
    if limit >= wanted {
        return None;
    }
    let finding = Finding::new(
        Severity::Fails,
        format!("{limit} allowed, {wanted} may be needed"),
        "Every connection and every temporary file of a large message is an open file: past the limit connections wait and \
         messages are answered 451. Or lower connections_max and spill_files_max.",
    );
    let finding = finding
        .cure("# in the unit; without systemd `ulimit -n` in the shell that starts ringmx")
        .cure(unit_line(&format!("LimitNOFILE={wanted}")));
    Some(match host.nr_open {
        Some(most) if most < wanted => finding.cure(sysctl_line("fs.nr_open", wanted.next_power_of_two())),
        _ => finding,
    })
}

/// A segment, a message, or the log may be larger than a file may be.
pub(in crate::doctor) fn check_file_size(host: &Host, config: &Config) -> Option<Finding> {
    let limit = host.file_bytes_max?;
    let finding = match config.sink.facts().file_bytes() {
        Some(segment_bytes) if segment_bytes > limit => Finding::new(
            Severity::Fails,
            format!("{limit} octets allowed, segment_size is {segment_bytes}"),
            "No segment can be written: the receiver does not start. Or lower segment_size in [[sink]].",
        ),
        Some(_) | None => Finding::new(
            Severity::Limits,
            file_limit::message_note(config, Some(limit))?,
            "The message is answered 452 each time that it comes, until its sender gives up.",
        ),
    };
    Some(
        finding
            .cure("# in the unit; without systemd `ulimit -f unlimited` in the shell that starts ringmx")
            .cure(unit_line("LimitFSIZE=infinity")),
    )
}

fn wanted(config: &Config) -> u64 {
    let of_shard = |connections: usize| connections + REFUSED_CONNECTIONS_MAX + config.listeners.len() + 4;
    let shards: usize = config.shards.iter().map(|shard| of_shard(shard.connections_max)).sum();
    let sink = config.sink.facts().open_files(config.sink.workers);
    let spills = if config.sink.facts().reads_mail_data() { config.limits.spill_files_max } else { 0 };
    let to_name_servers = config.lookup_threads() * SOCKETS_MAX;
    let to_stations = config.station_connections_max();
    (shards + sink + to_name_servers + to_stations) as u64 + spills + OTHERS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, SinkKind};

    #[test]
    fn open_files_have_to_cover_connections_and_spill_files() {
        let mut config = Config::embedded_default();
        config.shards.truncate(1);
        config.shards[0].connections_max = 1000;
        config.limits.spill_files_max = 500;
        let host = |limit| Host { open_files_max: Some(limit), nr_open: Some(1 << 20), ..Host::default() };
        let finding = check_open_files(&host(1500), &config).expect("a finding");
        assert_eq!(finding.severity, Severity::Fails);
        assert!(finding.cure.iter().any(|line| line.contains("LimitNOFILE=")), "{finding:?}");
        assert_eq!(check_open_files(&host(4000), &config), None);
        assert_eq!(check_open_files(&Host::default(), &config), None);
    }

    #[test]
    fn a_limit_on_the_size_of_files_is_told_where_something_does_not_fit() {
        let mut config = Config::embedded_default();
        let host = |limit| Host { file_bytes_max: limit, ..Host::default() };
        assert_eq!(check_file_size(&host(None), &config), None);
        assert_eq!(check_file_size(&host(Some(config.limits.message_size_max)), &config), None);
        let severity =
            |config: &Config| check_file_size(&host(Some(1 << 20)), config).map(|found| found.severity);
        assert_eq!(severity(&config), Some(Severity::Limits));
        config.sink.kind = SinkKind::Spool(config::Spool {
            path: "spool".into(),
            segment_bytes: 64 << 20,
            direct_writes: true,
        });
        assert_eq!(severity(&config), Some(Severity::Fails));
    }

    #[test]
    fn a_limit_above_all_limits_needs_one_more_cure() {
        let mut config = Config::embedded_default();
        config.shards[0].connections_max = 1_000_000;
        let host = Host { open_files_max: Some(1024), nr_open: Some(4096), ..Host::default() };
        let finding = check_open_files(&host, &config).expect("a finding");
        assert!(finding.cure.iter().any(|line| line.contains("fs.nr_open=")), "{finding:?}");
    }
}
