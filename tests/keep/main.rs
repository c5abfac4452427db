//! The keeper of the forwarder: what was told as durable is there after every power cut, nobody's mail is
//! lost, and what was sent is not sent again.

mod book;
mod damage;
mod engine;
mod faults;
mod growth;
mod image;
mod large;
mod model;
mod power_cut;
mod unreadable;
