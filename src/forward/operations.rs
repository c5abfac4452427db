//! What operators ask of a running forwarder, as values: read from a line, handed to the engine, answered.

use std::fmt;

use tokio::sync::oneshot;

use super::keep::Place;

/// What is shown of a message that an operator holds.
pub const HELD_BY_OPERATOR: &str = "an operator holds it";

/// What an operator wants.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Deferred mail is tried now; what was given up waits again.
    Retry(Target),
    /// Nobody tries these, and they do not expire, until they are released.
    Hold(Chosen),
    /// What is held is tried now.
    Release(Chosen),
    /// These are thrown away.
    Remove(Chosen),
    /// No mail goes to a destination, or to a next hop wherever it stands.
    Suspend(String),
    /// Mail goes there again.
    Resume(String),
    /// Which messages of the log cannot be read? Nothing is done. They are told as what it was not done for.
    Unreadable,
}

/// Messages, and for whom of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Chosen {
    /// Where they are.
    pub places: Vec<Place>,
    /// Of those who wait there only these, who wait for this destination; without it all of them.
    pub destination: Option<String>,
}

/// What is tried now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// These messages.
    Places(Vec<Place>),
    /// All that waits for a destination.
    Destination(String),
    /// All that waits.
    All,
}

/// What became of it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Done {
    /// Messages, or next hops, for which it was done.
    pub count: u64,
    /// Messages for which it was not, and why.
    pub failed: Vec<(Place, String)>,
}

/// What became of an operation; why none of it was done otherwise.
pub type Outcome = Result<Done, String>;

/// An operation, and who waits for it.
#[derive(Debug)]
pub struct Asked {
    /// What is wanted.
    pub operation: Operation,
    /// Whom to tell. Dropped where the forwarder ends before.
    pub tell: oneshot::Sender<Outcome>,
}

/// Words of the line of a command.
const FORM: &str = "there are `retry`, `hold`, `release` and `remove` with places, the last three also with `for NAME` after them, \
                    `retry destination NAME`, `retry all`, `suspend NAME`, `resume NAME` and `unreadable`";

impl Operation {
    /// Its word, for the log.
    pub fn word(&self) -> &'static str {
        match self {
            Self::Retry(_) => "retry",
            Self::Hold(_) => "hold",
            Self::Release(_) => "release",
            Self::Remove(_) => "remove",
            Self::Suspend(_) => "suspend",
            Self::Resume(_) => "resume",
            Self::Unreadable => "unreadable",
        }
    }

    /// Reads the line of a command. An error says what there is.
    pub fn parse(line: &str) -> Result<Self, String> {
        let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
        let places = |text: &str| {
            let places: Result<Vec<Place>, _> = text.split_ascii_whitespace().map(place).collect();
            places.and_then(|all| if all.is_empty() { Err(FORM.to_owned()) } else { Ok(all) })
        };
        let chosen = || {
            let (text, destination) = match rest.split_once(" for ") {
                Some((text, name)) => (text, Some(name.to_owned())),
                None => (rest, None),
            };
            Ok::<_, String>(Chosen { places: places(text)?, destination })
        };
        let name = || if rest.is_empty() { Err(FORM.to_owned()) } else { Ok(rest.to_owned()) };
        match word {
            "retry" => Ok(Self::Retry(match rest.split_once(' ') {
                _ if rest == "all" => Target::All,
                Some(("destination", name)) => Target::Destination(name.to_owned()),
                _ => Target::Places(places(rest)?),
            })),
            "hold" => chosen().map(Self::Hold),
            "release" => chosen().map(Self::Release),
            "remove" => chosen().map(Self::Remove),
            "suspend" => name().map(Self::Suspend),
            "resume" => name().map(Self::Resume),
            "unreadable" if rest.is_empty() => Ok(Self::Unreadable),
            _ => Err(format!("{word:?} is no command; {FORM}")),
        }
    }
}

fn place(text: &str) -> Result<Place, String> {
    text.parse().map_err(|_| format!("{text:?} is no place of a message"))
}

impl fmt::Display for Operation {
    /// The line that [`Self::parse`] reads.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.word())?;
        match self {
            Self::Unreadable => Ok(()),
            Self::Retry(Target::All) => f.write_str(" all"),
            Self::Retry(Target::Destination(name)) => write!(f, " destination {name}"),
            Self::Suspend(name) | Self::Resume(name) => write!(f, " {name}"),
            Self::Retry(Target::Places(places)) => write_places(places, f),
            Self::Hold(chosen) | Self::Release(chosen) | Self::Remove(chosen) => {
                write_places(&chosen.places, f)?;
                chosen.destination.as_ref().map_or(Ok(()), |name| write!(f, " for {name}"))
            }
        }
    }
}

fn write_places(places: &[Place], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    places.iter().try_for_each(|place| write!(f, " {place}"))
}

impl fmt::Display for Done {
    /// The count, and a line for each message of which it was not done: its place, a tab, why.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.count)?;
        self.failed.iter().try_for_each(|(place, why)| writeln!(f, "{place}\t{why}"))
    }
}

impl Done {
    /// Reads what [`Display`](fmt::Display) wrote; none where it is something else.
    pub fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines();
        let count = lines.next()?.parse().ok()?;
        let failed = lines.map(|line| {
            let (place, why) = line.split_once('\t')?;
            Some((place.parse().ok()?, why.to_owned()))
        });
        Some(Self { count, failed: failed.collect::<Option<_>>()? })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sink::spool::cursor::Cursor;

    #[test]
    fn a_command_reads_back() {
        let at = |offset| Cursor { sequence: 31, offset };
        let places = vec![Place::Later(at(4096)), Place::Dead(at(512)), Place::Log(at(1024))];
        let name = "lmtp://unix:/run/x for y smtp://10.0.0.5:25".to_owned();
        let all = Chosen { places: places.clone(), destination: None };
        let some = Chosen { places: places.clone(), destination: Some(name.clone()) };
        for operation in [
            Operation::Retry(Target::All),
            Operation::Retry(Target::Destination(name.clone())),
            Operation::Retry(Target::Places(places.clone())),
            Operation::Hold(some.clone()),
            Operation::Release(all.clone()),
            Operation::Remove(some),
            Operation::Remove(all),
            Operation::Suspend(name.clone()),
            Operation::Resume(name),
            Operation::Unreadable,
        ] {
            assert_eq!(Operation::parse(&operation.to_string()), Ok(operation));
        }
        for wrong in [
            "",
            "retry",
            "hold",
            "hold all",
            "remove later/1:2",
            "suspend",
            "remove 000000000000001f",
            "unreadable all",
            "x",
        ] {
            Operation::parse(wrong).expect_err(wrong);
        }
        let done = Done { count: 3, failed: vec![(places[0], "it is gone".to_owned())] };
        assert_eq!(Done::parse(&done.to_string()), Some(done));
        assert_eq!(Done::parse("three\n"), None);
        assert_eq!(Done::parse("3\nlater\n"), None);
    }
}
