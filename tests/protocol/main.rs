//! The protocol core: sessions in memory, without sockets, threads or clocks.

mod budgets;
mod dialogues;
mod forwarding;
mod fronts;
mod odd_messages;
mod other_protocols;
mod properties;
mod smuggling;
