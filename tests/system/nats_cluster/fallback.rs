//! `fallback = "spool"`: a cluster that is away refuses nobody, and what the spool has is in the stream soon
//! after its return, once.

use std::time::{Duration, Instant};

use support::nats_cluster::{NODES, NatsCluster};

use super::STREAM;
use super::load::{Load, expect_whole, lasts, receiver};
use crate::forward::{Forwarder, wait_until_empty};

const WITH_SPOOL: &str = "create = true\nfallback = \"spool\"\npath = \"spool\"\nsegment_size = \"4MiB\"\n";

/// A client waits so long at most: 2 s for the cluster, and for a machine that others use.
const WAIT_MAX: Duration = Duration::from_secs(6);

/// After its return the cluster has everything within this time.
const RETURN_MAX: Duration = Duration::from_mins(1);

#[test]
fn a_cluster_that_is_away_refuses_nobody_and_has_everything_after_its_return() {
    let Some(mut cluster) = NatsCluster::start() else { return };
    let server = receiver(&cluster, WITH_SPOOL);
    let forwarder = Forwarder::start(&server);
    let ledger = server.folder().join("ledger");
    let (rate, away) = (lasts(100, 1000), lasts(8, 60));
    let duration = away + lasts(14, 30);
    let arguments =
        format!("--rate {rate}/s --duration {duration}s --connections 100 --to user@example.test");
    let load = Load::start(&server, &ledger, &arguments);
    std::thread::sleep(Duration::from_secs(4));
    (0..NODES).for_each(|node| cluster.kill(node));
    std::thread::sleep(Duration::from_secs(away));
    (0..NODES).for_each(|node| cluster.start_again(node));
    cluster.wait_until_well();
    let returned = Instant::now();
    let outcome = load.finish();
    let refused: u64 = ["451", "452", "421", "550"].iter().map(|code| outcome.replies(code)).sum();
    assert_eq!(refused, 0, "{outcome:?}");
    assert!(outcome.stall <= WAIT_MAX, "{outcome:?}");
    wait_until_empty(&server, &forwarder);
    let took = returned.elapsed();
    println!("everything is in the stream {took:?} after the return");
    assert!(took <= RETURN_MAX, "{took:?}");
    forwarder.stop();
    expect_whole(&cluster, &ledger, &[]);
    assert!(cluster.read(STREAM).len() as u64 >= outcome.accepted);
}
