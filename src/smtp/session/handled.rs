//! How the handling of a command line ends.

use crate::smtp::question::Question;
use crate::smtp::reply::Reply;

/// How the handling of a command line ends.
pub(super) enum Handled {
    /// This is the reply.
    Reply(Reply),
    /// It has replied by itself.
    Replied,
    /// The reply, and nothing more is read.
    Close(Reply),
    /// It has to ask; the answer says how it ends.
    Ask(Question),
}
