//! What a shard's thread gets, and what it makes of it there.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;

use crossbeam_channel::Sender;

use super::event::ThreadEvent;
use crate::buffer::Pool;
use crate::config;
use crate::handoff::channel::Sender as ToWorker;
use crate::handoff::lookup::Asked;
use crate::log::Log;
use crate::mail::queue_id::IdKey;
use crate::metrics::ShardMetrics;
use crate::ring::kernel::KernelRing;
use crate::ring::probe;
use crate::shard::answers::Answers;
use crate::shard::clients::Clients;
use crate::shard::context::{Context, Turn};
use crate::shard::delivery::{Delivery, ToSink};
use crate::shard::inbox::Inbox;
use crate::shard::lines::Lines;
use crate::shard::mailboxes::{Lookup, Mailboxes};
use crate::shard::order::{NewSocket, Service};
use crate::shard::parts::{Overflow, Parts};
use crate::shard::recipient_map::{RecipientMap, ToThreads};
use crate::shard::stations::{Stations, ToStation};
use crate::shard::{Shard, affinity};
use crate::sink::space::Space;

/// Makes a shard's way to the sink on its thread: a sink belongs to the thread that it runs on.
pub(super) type MakeToSink = Box<dyn FnOnce() -> ToSink + Send>;

/// A shard's own ends of what leads to and from it.
pub(super) struct Ends {
    /// One a listener.
    pub(super) sockets: Vec<NewSocket>,
    pub(super) inbox: Inbox,
    pub(super) to_sink: MakeToSink,
    pub(super) overflow: Overflow,
    pub(super) lookup: Lookup,
    pub(super) to_map: ToThreads,
    /// In the order in which messages pass them.
    pub(super) stations: Vec<ToStation>,
    /// To its lookup thread; none where nothing asks the DNS.
    pub(super) to_dns: Option<ToWorker<Asked>>,
}

/// What a shard's thread needs to make its shard.
pub(super) struct ShardStart {
    pub(super) number: usize,
    pub(super) shard: config::Shard,
    pub(super) ends: Ends,
    pub(super) service: Arc<Service>,
    pub(super) id_key: IdKey,
    /// What is left on the sink's disk.
    pub(super) space: Option<Arc<Space>>,
    pub(super) log: Log,
    pub(super) clients: Arc<Clients>,
    pub(super) metrics: Arc<ShardMetrics>,
}

impl ShardStart {
    /// Makes the shard and runs it until it has stopped: what the shard's thread does.
    pub(super) fn run(self, tell: &Sender<ThreadEvent>) {
        let number = self.number;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let shard = self.make()?;
            let _ = tell.send(ThreadEvent::Ready);
            shard.run().map_err(|error| format!("io_uring_enter: {error}"))
        }));
        let result = result.unwrap_or_else(|_| Err("a shard panicked; this is a bug of ringmx".into()));
        let _ = tell.send(ThreadEvent::Ended(result.map_err(|text| format!("shard {number}: {text}"))));
    }

    /// On the shard's own thread: a ring belongs to the thread that made it, and memory to the core that
    /// touches it.
    fn make(self) -> Result<Shard<KernelRing>, String> {
        let (config, ends) = (&self.shard, self.ends);
        affinity::pin_to(config.cpu).map_err(|error| format!("cannot run on CPU {}: {error}", config.cpu))?;
        let pool =
            Pool::new(config.buffers, config.buffer_bytes, config.block_bytes_max).map_err(|error| {
                format!("cannot map {} buffers of {} octets: {error}", config.buffers, config.buffer_bytes)
            })?;
        let ring = KernelRing::new(config.ring_entries, Arc::clone(pool.arena()))
            .and_then(|ring| ring.with_batch_wait(config.batch_wait))
            .map_err(|error| probe::explain(&error).to_string())?;
        let number = u16::try_from(self.number).map_err(|_| "more than 65,535 shards".to_string())?;
        let turn = Turn::first(&ring, &self.clients);
        let context = Context {
            ring,
            pool,
            inbox: ends.inbox,
            delivery: Delivery::new(number, self.id_key, (ends.to_sink)()).with_space(self.space),
            stations: Stations::new(ends.stations),
            parts: Parts::new(ends.overflow),
            mailboxes: Mailboxes::new(number, ends.lookup),
            recipient_map: RecipientMap::new(number, ends.to_map),
            answers: Answers::new(number, ends.to_dns, Arc::clone(&self.metrics)),
            log: self.log,
            lines: Lines::new(&self.service.logged),
            metrics: self.metrics,
            clients: self.clients,
            turn,
        };
        Ok(Shard::new(context, &self.service, ends.sockets))
    }
}
