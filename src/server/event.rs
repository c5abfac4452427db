//! What the threads of the server tell the control thread.

/// What a shard or a thread that works for shards tells the control thread.
pub(super) enum ThreadEvent {
    /// It serves.
    Ready,
    /// It ended, as told or because it could not go on.
    Ended(Result<(), String>),
}
