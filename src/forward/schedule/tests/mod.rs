//! The schedule on virtual time, in a world of simulated hosts.

mod deferred;
mod fairness;
mod model;
mod poison;
mod recovery;
mod slots;
mod world;
