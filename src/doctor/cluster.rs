//! The cluster that has mail: whether it keeps what it acknowledges, and what that is worth.

use super::finding::Finding;
#[cfg(feature = "nats")]
use super::finding::Severity;
use crate::config::Config;

/// Asks the cluster; nothing where there is none.
#[cfg(feature = "nats")]
pub fn examine_cluster(config: &Config) -> Vec<(&'static str, Finding)> {
    use crate::nats::{FirstLook, Plan};

    let Some(cluster) = &config.nats else { return Vec::new() };
    let looked = Plan::new(cluster, &config.hostname)
        .and_then(|plan| FirstLook::take(&plan).map_err(|error| error.to_string()));
    match looked {
        Ok(looked) => findings(&looked),
        Err(why) => vec![("cluster", Finding::new(Severity::Fails, why, "ringmx does not start like that"))],
    }
}

/// Without the feature there is none.
#[cfg(not(feature = "nats"))]
pub fn examine_cluster(_config: &Config) -> Vec<(&'static str, Finding)> {
    Vec::new()
}

#[cfg(feature = "nats")]
fn findings(looked: &crate::nats::FirstLook) -> Vec<(&'static str, Finding)> {
    use crate::nats::LookError;

    let mut found = Vec::new();
    match &looked.facts {
        Err(LookError::Unfit(why)) => {
            found.push(("stream", Finding::new(Severity::Fails, why, "ringmx does not start like that")));
        }
        Err(LookError::Away(why)) => {
            let value = format!("the stream {} is not there now: {why}", looked.stream);
            found.push(("stream", Finding::new(Severity::Fails, value, "no message can be acknowledged")));
        }
        Ok(facts) => {
            if let Some(worth) = looked.worth() {
                found.push(("stream", Finding::new(Severity::Note, worth, "that is what 250 promises")));
            }
            let severity = Severity::Limits;
            found.extend(facts.warnings.iter().map(|text| {
                (
                    "stream",
                    Finding::new(severity, text, "mail may be lost, or be there twice, behind the 250"),
                )
            }));
        }
    }
    for (address, told) in &looked.servers {
        match told {
            Ok(server) if server.is_synced() => {
                let why = "what it acknowledges is on its disk";
                found.push(("cluster sync", Finding::new(Severity::Note, server.text(), why)));
            }
            Ok(server) => {
                let why = "what it acknowledges is lost with its machine's power: as many machines as make a quorum must not lose \
                           theirs at once";
                let finding = Finding::new(Severity::Limits, server.text(), why)
                    .cure("# write sync_interval: always into `jetstream` of its configuration, with nats-server 2.15 or later");
                found.push(("cluster sync", finding));
            }
            Err(why) => {
                let value = format!("the monitoring of {address} does not answer: {why}");
                found.push((
                    "cluster sync",
                    Finding::new(Severity::Hint, value, "what it syncs is not known"),
                ));
            }
        }
    }
    if looked.servers.is_empty() {
        let value = "no `monitor` is named";
        let why = "whether the servers sync what they acknowledge is not known";
        let finding =
            Finding::new(Severity::Hint, value, why).cure("# name the monitoring of each server in [[sink]]");
        found.push(("cluster sync", finding));
    }
    found
}
