//! What is counted, for whoever watches the server: `/metrics`, the status page, the closing report.
//!
//! Whatever counts owns its counters and is their only writer, so to count is a plain add and costs a shard
//! nothing that others could see: no locked instruction, no allocation, no reading of a clock. The
//! [`Registry`] holds all of them and reads them when it is asked ([`Registry::snapshot`]); nobody is stopped
//! for that. A counter with a name is a row of the table in `shard`, or a field in `sink`, `spool`, `station`
//! or `forward`; how it is shown is a row in `admin::exposition`.
//!
//! Never a label that a client chooses: no address, no domain, no recipient.

mod authentication;
mod forward;
mod histogram;
mod pulse;
mod registry;
mod shard;
mod sink;
mod snapshot;
mod spool;
mod station;

pub use self::authentication::{AuthenticationMetrics, AuthenticationValues};
pub use self::forward::{
    Attempt, DelayPart, DestinationMetrics, DestinationShown, DestinationValues, EngineMetrics,
    ForwardMetrics, ForwardResult, ForwardSnapshot, HostShown, NOTICES, OfficeMetrics, ReaderMetrics,
    STOPPED, Shown,
};
pub use self::histogram::{Histogram, Spread, micros};
pub use self::pulse::Pulse;
pub use self::registry::{AskLists, Registry};
pub use self::shard::{Phase, ShardMetrics, ShardValues, sum};
pub use self::sink::{SinkMetrics, SinkValues};
pub use self::snapshot::{Certificate, ClientValues, Config, Snapshot, SpillValues};
pub use self::spool::{SpoolMetrics, SpoolValues};
pub use self::station::{StationAction, StationMetrics, StationName, StationValues};
pub use crate::counter::Counter;
