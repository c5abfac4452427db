//! Memory for mail data: receive buffers, owned blocks, the pieces in them, and the spill files for what is
//! too much. No io_uring in here.
//!
//! One [`Pool`] for each shard owns which buffer is where. A buffer is in exactly one place at a time:
//!
//! ```text
//!   free ──take──► published (the kernel may write) ──received──► pinned (count ≥ 1) ──last unpin──► free
//! ```
//!
//! [`MailData`] is what a transaction keeps: pieces that borrow pinned buffers or lie in owned blocks. It is
//! read-only outside its shard and not `Clone`. Where it is dropped outside its shard, it leaks its buffers
//! (they stay pinned and are counted). It never frees them there, because only the shard may touch the
//! counts.
//!
//! ```text
//!   mail_data ──► prefix ───────────────────► spill_file ──► spill_budget
//!       └───────► pieces ──► pool ──► arena, blocks, pressure, spill_file
//! ```

mod arena;
mod blocks;
mod mail_data;
mod pieces;
mod pool;
mod prefix;
mod pressure;
mod spill_budget;
mod spill_error;
mod spill_file;

pub use self::arena::{Arena, BufferId};
pub use self::blocks::NoMemory;
pub use self::mail_data::{MailData, Spilled, Whole};
pub use self::pool::Pool;
pub use self::prefix::NotWhole;
pub use self::pressure::Pressure;
pub use self::spill_budget::SpillBudget;
pub use self::spill_error::SpillError;
pub use self::spill_file::SpillFile;
