//! What things cost: memory, CPU time, system calls, and how long others wait. Whoever measures needs the machine for itself, so this is
//! a program of its own.

mod abuse;
mod abuse_states;
mod mail_data_cost;
mod memory_sum;
mod system_calls;
