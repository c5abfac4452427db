//! The cluster of the tests itself: what is done to it is what happens.

use support::nats_cluster::{NODES, NatsCluster, Options, State};

use super::STREAM;

/// Whether a process is there that listens.
fn listens(url: &str) -> bool {
    std::net::TcpStream::connect(url.rsplit('/').next().expect("an address")).is_ok()
}

#[test]
fn servers_sync_always_are_killed_and_come_back() {
    let Some(mut cluster) = NatsCluster::start() else { return };
    for node in 0..NODES {
        let said = cluster.monitor(node, "/varz").expect("its monitoring");
        assert_eq!(said["jetstream"]["config"]["sync_always"], true, "{said}");
        assert_eq!(said["version"], "2.15.1");
    }
    cluster.stream(&["create", STREAM]);
    let leader = cluster.leader_of(STREAM);
    cluster.kill(leader);
    assert!(!listens(&cluster.url(leader)));
    let next = cluster.leader_of(STREAM);
    assert_ne!(next, leader);
    cluster.start_again(leader);
    cluster.wait_until_well();
    // One that stands still is no leader for the others.
    cluster.pause(next);
    let third = cluster.leader_of(STREAM);
    assert_ne!(third, next);
    assert_eq!(cluster.state(next), State::Stands);
    cluster.resume(next);
    cluster.wait_until_well();
    assert_eq!(
        cluster.stream(&["state", STREAM]).trim(),
        r#"{"messages": 0, "bytes": 0, "first": 0, "last": 0}"#
    );
}

#[test]
fn clients_come_by_tls_with_certificate_and_password() {
    let options = Options {
        tls: true,
        client_certificates: true,
        user: Some(("ringmx", "secret")),
        ..Options::default()
    };
    let Some(cluster) = NatsCluster::start_with(options) else { return };
    cluster.stream(&["create", STREAM]);
    let mut without = cluster.python("nats_stream.py");
    without.env_remove("NATS_CERTIFICATE").args(["state", STREAM]);
    assert!(!without.output().expect("python3 runs").status.success());
}

#[test]
fn clients_come_by_credentials() {
    let options = Options { credentials: true, ..Options::default() };
    let Some(cluster) = NatsCluster::start_with(options) else { return };
    cluster.stream(&["create", STREAM]);
    cluster.leader_of(STREAM);
    let mut without = cluster.python("nats_stream.py");
    without.env_remove("NATS_CREDENTIALS").args(["state", STREAM]);
    assert!(!without.output().expect("python3 runs").status.success());
}

#[test]
fn no_server_outlives_its_test() {
    let Some(cluster) = NatsCluster::start() else { return };
    let urls = [0, 1, 2].map(|node| cluster.url(node));
    assert!(urls.iter().all(|url| listens(url)));
    // As when the process of the test is killed: nobody drops anything, and its end of the pipe goes.
    cluster.abandon();
    let begun = std::time::Instant::now();
    while urls.iter().any(|url| listens(url)) {
        assert!(begun.elapsed().as_secs() < 30, "a server goes on");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}
