//! What a ring takes from now on (`IORING_REGISTER_RESTRICTIONS`, Linux 5.10): the operations and registers
//! that we use, and nothing else.
//!
//! A seccomp filter does not see what is submitted to a ring. Without this whoever takes over a shard could
//! open files, make sockets and connect through the shard's ring, although the filter forbids each of these
//! as a system call.

use std::io;

use io_uring::register::Restriction;
use io_uring::{IoUring, opcode, squeue};

use super::super::setup_error::SetupError;

/// Every operation that [`Ring`](crate::ring::Ring) submits for a receiver. Accept, receive and send have one
/// code for each of their forms.
const OF_RECEIVER: [u8; 8] = [
    opcode::AcceptMulti::CODE,
    opcode::Recv::CODE,
    opcode::Send::CODE,
    opcode::SendMsg::CODE,
    opcode::Close::CODE,
    opcode::PollAdd::CODE,
    opcode::Write::CODE,
    opcode::AsyncCancel::CODE,
];

/// `IORING_REGISTER_SYNC_CANCEL`: how the end of a ring waits for what is under way.
const SYNC_CANCEL: u8 = 24;

/// Restricts a ring that was made disabled, and enables it: the thread that calls this is the only one that
/// may submit to it. `connects`: it makes connections, too, as a client does.
pub(super) fn restrict_and_enable(ring: &IoUring, connects: bool) -> Result<(), SetupError> {
    let flags = squeue::Flags::BUFFER_SELECT | squeue::Flags::SKIP_SUCCESS;
    let mut restrictions =
        vec![Restriction::register_op(SYNC_CANCEL), Restriction::sqe_flags_allowed(flags.bits())];
    restrictions.extend(OF_RECEIVER.map(Restriction::sqe_op));
    if connects {
        restrictions.push(Restriction::sqe_op(opcode::Connect::CODE));
    }
    let failed = |step| move |error: io::Error| SetupError { step, error };
    let submitter = ring.submitter();
    submitter.register_restrictions(&mut restrictions).map_err(failed("restricting the ring"))?;
    submitter.register_enable_rings().map_err(failed("enabling the ring"))
}
