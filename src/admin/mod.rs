//! What an operator asks a running server.

pub mod page;
pub mod status;
