//! Bots: what sessions of those do who attack, how often each kind of them comes, and how they end.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use super::pattern::Pattern;
use crate::proxy::Proxy;
use crate::weights::{weighted, write_weighted};

/// What a session does. All of them wait for the greeting, except where it says otherwise.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// EHLO, MAIL, RCPT to somebody unknown, QUIT.
    Refused,
    /// EHLO, MAIL and RCPT before the greeting.
    EarlyTalker,
    /// EHLO or HELO with an argument that is none (RFC 5321 §4.1.1.1), then MAIL and RCPT all the same.
    BadEhlo,
    /// EHLO, MAIL, RCPT; then it is gone, or resets the connection.
    NoQuit,
    /// EHLO, MAIL, and a thousand RCPT in one write.
    RcptFlood,
    /// EHLO, STARTTLS, and no ClientHello: noise, a part of one, plaintext.
    BadTls,
    /// An octet of a command a second.
    Slowloris,
    /// EHLO, MAIL, then RCPT without end, and no reply is read.
    NeverReads,
    /// Nothing.
    Silent,
}

impl Kind {
    /// All. A kind's index is its place in here.
    pub const ALL: [Self; 9] = [
        Self::Refused,
        Self::EarlyTalker,
        Self::BadEhlo,
        Self::NoQuit,
        Self::RcptFlood,
        Self::BadTls,
        Self::Slowloris,
        Self::NeverReads,
        Self::Silent,
    ];

    /// Its name on the command line and in reports.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Refused => "refused",
            Self::EarlyTalker => "early-talker",
            Self::BadEhlo => "bad-ehlo",
            Self::NoQuit => "no-quit",
            Self::RcptFlood => "rcpt-flood",
            Self::BadTls => "bad-tls",
            Self::Slowloris => "slowloris",
            Self::NeverReads => "never-reads",
            Self::Silent => "silent",
        }
    }
}

impl Kind {
    /// Whether a session of this kind went as it means to when it ends so: it left, or it waited for the
    /// server to close.
    pub const fn is_completed_by(self, end: End) -> bool {
        match (end, self) {
            (End::Left, _)
            | (
                End::Closed,
                Self::EarlyTalker | Self::BadTls | Self::Slowloris | Self::NeverReads | Self::Silent,
            ) => true,
            (End::Closed, Self::Refused | Self::BadEhlo | Self::NoQuit | Self::RcptFlood)
            | (End::Reset | End::TimedOut | End::NotConnected | End::Cut, _) => false,
        }
    }

    /// Whether this greeting lets it begin. Who speaks early is refused by it (554), and has not failed.
    pub const fn is_greeted_by(self, code: u16) -> bool {
        match self {
            Self::EarlyTalker => code != 421,
            Self::Refused
            | Self::BadEhlo
            | Self::NoQuit
            | Self::RcptFlood
            | Self::BadTls
            | Self::Slowloris
            | Self::NeverReads
            | Self::Silent => code == 220,
        }
    }
}

/// How a session of a bot ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It had done what it does, and went.
    Left,
    /// The server closed the connection.
    Closed,
    /// The connection broke: the server reset it.
    Reset,
    /// The server kept it for as long as a session of a bot lasts.
    TimedOut,
    /// No connection was made.
    NotConnected,
    /// It was there when the run ended.
    Cut,
}

impl End {
    /// All. An end's index is its place in here.
    pub const ALL: [Self; 6] =
        [Self::Left, Self::Closed, Self::Reset, Self::TimedOut, Self::NotConnected, Self::Cut];

    /// Its name in reports for programs.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Closed => "closed_by_server",
            Self::Reset => "reset",
            Self::TimedOut => "timed_out",
            Self::NotConnected => "not_connected",
            Self::Cut => "cut_by_end_of_run",
        }
    }

    /// For people, after a count.
    pub const fn words(self) -> &'static str {
        match self {
            Self::Left => "left",
            Self::Closed => "closed by the server",
            Self::Reset => "reset",
            Self::TimedOut => "lasted to their time",
            Self::NotConnected => "not connected",
            Self::Cut => "cut by the end of the run",
        }
    }
}

/// Kinds with weights: how often each is drawn. There is at least one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KindMix(Vec<(Kind, u32)>);

impl Default for KindMix {
    /// Most sessions end in a refusal; three of twenty want to stay.
    fn default() -> Self {
        Self(vec![
            (Kind::Refused, 8),
            (Kind::EarlyTalker, 2),
            (Kind::BadEhlo, 2),
            (Kind::NoQuit, 2),
            (Kind::RcptFlood, 1),
            (Kind::BadTls, 2),
            (Kind::Slowloris, 1),
            (Kind::NeverReads, 1),
            (Kind::Silent, 1),
        ])
    }
}

impl FromStr for KindMix {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        weighted(text, &Kind::ALL, Kind::name, "kind of bot").map(Self)
    }
}

impl fmt::Display for KindMix {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write_weighted(f, &self.0, Kind::name)
    }
}

impl KindMix {
    /// The kind that this number draws, whatever number it is.
    pub fn draw(&self, random: u64) -> Kind {
        let sum: u64 = self.0.iter().map(|(_, weight)| u64::from(*weight)).sum();
        let mut left = random % sum.max(1);
        for (kind, weight) in &self.0 {
            match left.checked_sub(u64::from(*weight)) {
                None => return *kind,
                Some(less) => left = less,
            }
        }
        Kind::Refused
    }
}

/// The bots of a run. They live as long as the process, so that what they say is sent from where it is.
#[derive(Debug)]
pub struct Bots {
    /// What their sessions do.
    pub kinds: KindMix,
    /// How long a session lasts at most, from the call to connect.
    pub session_max: Duration,
    /// Of the kind of each session, its address and what it says.
    pub seed: u64,
    /// PROXY headers, if connections begin with one.
    pub proxy: Option<Proxy>,
    /// MAIL.
    pub mail: Vec<u8>,
    /// The forward-path that is to be refused.
    pub unknown: Pattern,
    /// [`Self::FLOOD`] times RCPT.
    pub flood: Vec<u8>,
}

impl Bots {
    /// RCPT of a flood.
    pub const FLOOD: u16 = 1000;

    /// MAIL has this reverse-path.
    pub fn new(
        (kinds, session_max, seed): (KindMix, Duration, u64),
        proxy: Option<Proxy>,
        reverse_path: &str,
        unknown: &str,
    ) -> Self {
        let unknown = Pattern::new(unknown);
        let mut flood = Vec::new();
        for number in 0..Self::FLOOD {
            unknown.write_rcpt(number.into(), &mut flood);
        }
        let mail = format!("MAIL FROM:<{reverse_path}>\r\n").into_bytes();
        Self { kinds, session_max, seed, proxy, mail, unknown, flood }
    }

    /// What its sessions do, in words.
    pub fn describe(&self) -> String {
        format!("{}; at most {:?}", self.kinds.to_string().replace(',', ", "), self.session_max)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_kind_is_drawn_as_often_as_its_weight_says() {
        let mix: KindMix = "silent:3,bad-tls,refused:6".parse().expect("a mix");
        assert_eq!(mix.to_string(), "silent:3,bad-tls:1,refused:6");
        let count = |kind| (0..1000).filter(|number| mix.draw(*number) == kind).count();
        assert_eq!([Kind::Silent, Kind::BadTls, Kind::Refused, Kind::NoQuit].map(count), [300, 100, 600, 0]);
        let all = KindMix::default();
        assert!(Kind::ALL.iter().all(|kind| (0..20).any(|number| all.draw(number) == *kind)));
        for wrong in ["", "steady", "silent:0", "silent,,refused"] {
            assert!(wrong.parse::<KindMix>().is_err(), "{wrong}");
        }
    }

    #[test]
    fn the_index_of_a_kind_and_of_an_end_is_its_place() {
        assert!(Kind::ALL.iter().enumerate().all(|(index, kind)| *kind as usize == index));
        assert!(End::ALL.iter().enumerate().all(|(index, end)| *end as usize == index));
    }
}
