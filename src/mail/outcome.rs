//! What becomes of a message.

/// What became of a message. All or nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// As safe as the sink promises; 250 may leave.
    Stored,
    /// Not stored for a reason that passes: 4yz.
    TryAgain(TryAgain),
    /// Never to be stored, because of the message or the address itself: 5yz.
    Refused(Refused),
}

/// Why a message may be tried again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TryAgain {
    /// `451 4.3.2`: the channel to the sink stayed full, or memory ran out.
    Overload,
    /// `451 4.3.0`: a write, a sync or the configuration of the store failed.
    Local,
    /// `452 4.3.1`: no space, or over quota.
    NoSpace,
}

/// Why a message is refused for good.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refused {
    /// `550 5.1.3`: the sink cannot name a file for this recipient.
    Recipient,
    /// `552 5.3.4`: it is larger than is ever stored.
    TooLarge,
}
