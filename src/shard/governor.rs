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
    /// The worst who may connect.
    connects: Class,
    /// The worst whose transactions begin.
    sends: Class,
}

impl Governor {
    /// All are served.
    pub(super) const IDLE: Self = Self { connects: Class::Suspicious, sends: Class::Suspicious };

    /// With so much used of places for connections, and of what messages need, in per cent. Who has a place
    /// already takes none from others.
    pub(super) fn at(places: usize, messages: impl IntoIterator<Item = usize>) -> Self {
        let messages = messages.into_iter().max().unwrap_or(0);
        Self { connects: worst(places.max(messages)), sends: worst(messages) }
    }

    /// Whether such a client may connect.
    pub(super) fn lets_in(self, class: Class) -> bool {
        class >= self.connects
    }

    /// Whether a transaction of such a client may begin.
    pub(super) fn serves(self, class: Class) -> bool {
        class >= self.sends
    }
}

fn worst(used: usize) -> Class {
    match used {
        ..SUSPICIOUS_MAX => Class::Suspicious,
        SUSPICIOUS_MAX..UNKNOWN_MAX => Class::Unknown,
        UNKNOWN_MAX.. => Class::Proven,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_worst_are_put_off_first_by_what_is_used_most() {
        let classes = [Class::Suspicious, Class::Unknown, Class::Proven];
        let let_in = |places, messages| {
            let governor = Governor::at(places, messages);
            (classes.map(|class| governor.lets_in(class)), classes.map(|class| governor.serves(class)))
        };
        assert_eq!(let_in(0, [74, 10]), ([true; 3], [true; 3]));
        assert_eq!(let_in(75, [0, 0]), ([false, true, true], [true; 3]));
        assert_eq!(let_in(10, [87, 75]), ([false, true, true], [false, true, true]));
        assert_eq!(let_in(10, [20, 88]), ([false, false, true], [false, false, true]));
        assert_eq!(let_in(200, [10, 10]), ([false, false, true], [true; 3]));
    }
}
