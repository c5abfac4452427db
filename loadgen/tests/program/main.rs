//! The program as a user has it: against small servers of ours, receivers that others wrote, and ringmx
//! itself.

mod hostile;
mod ledger;
mod receivers;
mod reports;
mod sending;
mod signing;
mod support;
mod tls;
