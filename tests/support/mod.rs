//! What tests share: a real server on loopback and a plain client.
#![allow(dead_code)]

pub mod client;
pub mod server;
