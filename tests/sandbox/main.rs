//! What the sandbox refuses, tried from inside by every kind of thread; what serving needs still works; and
//! the whole server behind it.

mod inside;
mod name_servers;
mod serving;
