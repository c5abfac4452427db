//! The cluster before anything is published: whether its stream is as it has to be, and what a 250 is worth
//! there.

use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::LocalSet;
use tokio::time::timeout;

use super::link::{Link, OpenError};
use super::monitor::{self, Server};
use super::plan::Plan;
use super::stream::{LookError, StreamFacts, look};

/// All of the look.
const WAIT_MAX: Duration = Duration::from_secs(10);

/// What was found.
#[derive(Debug)]
pub struct FirstLook {
    /// The name of the stream.
    pub stream: String,
    /// What it is, or why nothing can be published there.
    pub facts: Result<StreamFacts, LookError>,
    /// What the servers that are asked tell of themselves, or why they do not.
    pub servers: Vec<(SocketAddr, Result<Server, String>)>,
}

impl FirstLook {
    /// Looks, on this thread: it waits.
    ///
    /// # Errors
    /// The machine gives nothing to look with.
    pub fn take(plan: &Plan) -> std::io::Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let looked = async {
            let link = Link::open_once(plan).await.map_err(|error| match error {
                OpenError::NotLetIn(why) => {
                    LookError::Unfit(format!("the cluster does not let us in: {why}"))
                }
                OpenError::Away(why) => LookError::Away(why),
            })?;
            look(&link, &plan.cluster).await
        };
        let facts = LocalSet::new().block_on(&runtime, async { timeout(WAIT_MAX, looked).await });
        let facts = facts.unwrap_or_else(|_| Err(LookError::Away("it does not answer".to_owned())));
        // What is still looked up or connected to is nobody's.
        runtime.shutdown_background();
        let servers = plan.cluster.monitor.iter().map(|address| (*address, monitor::ask(*address))).collect();
        Ok(Self { stream: plan.cluster.stream.clone(), facts, servers })
    }

    /// Whether all servers of the stream tell that they sync each message; none where not all of them tell.
    pub fn is_synced(&self) -> Option<bool> {
        let told: Vec<_> = self.servers.iter().filter_map(|(_, told)| told.as_ref().ok()).collect();
        if told.iter().any(|server| !server.is_synced()) {
            return Some(false);
        }
        let replicas = self.facts.as_ref().ok()?.replicas;
        (told.len() as u64 >= replicas).then_some(true)
    }

    /// What a 250 is worth.
    pub fn worth(&self) -> Option<String> {
        let facts = self.facts.as_ref().ok()?;
        let StreamFacts { replicas, present, .. } = facts;
        let quorum = replicas / 2 + 1;
        let synced = match self.is_synced() {
            Some(true) => "each of them has synced it to its disk before",
            Some(false) => {
                "they acknowledge before they sync (sync_interval is not always), so it is gone if as many lose power at once"
            }
            None if self.servers.is_empty() => {
                "whether they have synced it to their disks is not known: name their `monitor`"
            }
            None => "whether all of them have synced it to their disks is not known",
        };
        Some(format!(
            "the stream {}: a message answered 250 is stored by {quorum} of {replicas} servers at least ({present} are there now); {synced}",
            self.stream
        ))
    }
}
