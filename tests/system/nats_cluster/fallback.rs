//! `fallback = "spool"`: a cluster that is away refuses nobody, and the stream and the spool have all that
//! was accepted.

use std::time::Duration;

use support::nats_cluster::{NODES, NatsCluster};

use super::STREAM;
use super::load::{Load, expect_whole, receiver};

const WITH_SPOOL: &str = "create = true\nfallback = \"spool\"\npath = \"spool\"\nsegment_size = \"4MiB\"\n";

/// How long the cluster is away.
const AWAY: Duration = Duration::from_mins(1);

/// A client waits so long at most: 2 s for the cluster, and for a machine that others use.
const WAIT_MAX: Duration = Duration::from_secs(6);

#[test]
fn a_cluster_that_is_away_for_a_minute_refuses_nobody() {
    let Some(mut cluster) = NatsCluster::start() else { return };
    let server = receiver(&cluster, WITH_SPOOL);
    let ledger = server.folder().join("ledger");
    let arguments = "--rate 100/s --duration 90s --connections 100 --to user@example.test";
    let load = Load::start(&server, &ledger, arguments);
    std::thread::sleep(Duration::from_secs(5));
    (0..NODES).for_each(|node| cluster.kill(node));
    std::thread::sleep(AWAY);
    (0..NODES).for_each(|node| cluster.start_again(node));
    let outcome = load.finish();
    let refused: u64 = ["451", "452", "421", "550"].iter().map(|code| outcome.replies(code)).sum();
    assert_eq!(refused, 0, "{outcome:?}");
    assert!(outcome.stall <= WAIT_MAX, "{outcome:?}");
    let spool = server.folder().join("spool");
    expect_whole(&cluster, &ledger, &["--spool", spool.to_str().expect("UTF-8")]);
    // The way back is automatic.
    let ledger = server.folder().join("after");
    Load::start(&server, &ledger, "--messages 50 --connections 2 --to user@example.test").finish();
    expect_whole(&cluster, &ledger, &[]);
    assert!(cluster.read(STREAM).len() > 50);
}
