//! Whom a shard serves that has much to do: places, memory and the sink's queue are kept for the better
//! clients before they are used up. Only clients that are checked have a class; where nothing is checked all
//! are served until there is no room.

/// What is known of a client, the worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Class {
    /// Something speaks against it.
    Suspicious,
    /// Nothing is known.
    Unknown,
    /// It has proved good.
    Proven,
}

/// From this load on, in per cent, suspicious clients are put off.
const SUSPICIOUS_MAX: usize = 75;

/// From this load on clients are put off that have not proved good.
const UNKNOWN_MAX: usize = 88;

/// Who is served now.
#[derive(Debug, Clone, Copy)]
pub(super) struct Governor {
    worst: Class,
}

impl Governor {
    /// All are served.
    pub(super) const IDLE: Self = Self { worst: Class::Suspicious };

    /// With so much used of each of what there is only so much of, in per cent.
    pub(super) fn at(used: impl IntoIterator<Item = usize>) -> Self {
        let worst = match used.into_iter().max().unwrap_or(0) {
            ..SUSPICIOUS_MAX => Class::Suspicious,
            SUSPICIOUS_MAX..UNKNOWN_MAX => Class::Unknown,
            UNKNOWN_MAX.. => Class::Proven,
        };
        Self { worst }
    }

    /// Whether such a client is served.
    pub(super) fn serves(self, class: Class) -> bool {
        class >= self.worst
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_put_off_first_by_what_is_used_most() {
        let served = |used: [usize; 3]| {
            let governor = Governor::at(used);
            [Class::Suspicious, Class::Unknown, Class::Proven].map(|class| governor.serves(class))
        };
        assert_eq!(served([0, 74, 10]), [true; 3]);
        assert_eq!(served([75, 0, 0]), [false, true, true]);
        assert_eq!(served([10, 87, 75]), [false, true, true]);
        assert_eq!(served([10, 20, 88]), [false, false, true]);
        assert_eq!(served([200, 100, 100]), [false, false, true]);
        assert_eq!(Governor::IDLE.serves(Class::Suspicious), Governor::at([]).serves(Class::Suspicious));
    }
}
