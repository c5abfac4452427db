//! How a producer wakes the consumer of a channel that nobody blocks in.
