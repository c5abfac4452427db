//! What tests share: a real server on loopback and a plain client.
#![allow(dead_code)]

pub mod client;
pub mod control_group;
pub mod image;
pub mod load;
pub mod secure;
pub mod server;
