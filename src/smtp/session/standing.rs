//! What a session waits for, by name: for whoever must have something for each, such as the test of what a
//! client that stops there costs. A state that is added has to be named here, and then there.

use super::Session;
use super::state::{State, Wait};

macro_rules! standings {
    ($($(#[doc = $doc:literal])+ $name:ident,)+) => {
        /// What a session waits for.
        #[derive(Debug, Clone, Copy, PartialEq, Eq)]
        pub enum Standing {
            $($(#[doc = $doc])+ $name,)+
        }

        impl Standing {
            /// All there are.
            pub const ALL: &[Self] = &[$(Self::$name,)+];
        }
    };
}

standings! {
    /// The PROXY header of a front.
    Proxy,
    /// Whether the client may have one more connection.
    Admitting,
    /// The end of the greeting's delay.
    Delayed,
    /// That the greeting is sent.
    Greeted,
    /// A command.
    Command,
    /// Whether a transaction may begin.
    Beginning,
    /// Whether the store has a place for a recipient.
    Asking,
    /// Whether TLS can begin.
    AskedTls,
    /// A TLS handshake.
    Securing,
    /// Mail data of DATA.
    Data,
    /// The rest of a chunk.
    Chunk,
    /// What became of a message.
    Delivering,
    /// Nothing more.
    Closed,
}

impl Session {
    /// What it waits for.
    pub fn standing(&self) -> Standing {
        match self.state {
            State::Proxy(_) => Standing::Proxy,
            State::Delayed => Standing::Delayed,
            State::Greeted => Standing::Greeted,
            State::Command => Standing::Command,
            State::Waiting(Wait::Admission(_)) => Standing::Admitting,
            State::Waiting(Wait::Beginning) => Standing::Beginning,
            State::Waiting(Wait::Recipient) => Standing::Asking,
            State::Waiting(Wait::Encryption) => Standing::AskedTls,
            State::Waiting(Wait::Storing) => Standing::Delivering,
            State::Securing => Standing::Securing,
            State::Data(_) => Standing::Data,
            State::Chunk(_) => Standing::Chunk,
            State::Closed => Standing::Closed,
        }
    }
}
