//! Fixed lists of words: each is an enum whose variants have a name, for the log and for counting, and a
//! meaning, for the reference of the log.

macro_rules! words {
    ($(#[doc = $of:literal])+ $list:ident { $($(#[doc = $doc:literal])+ $variant:ident = $name:literal;)+ }) => {
        $(#[doc = $of])+
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
        pub enum $list {
            $($(#[doc = $doc])+ $variant,)+
        }

        impl $list {
            /// All of them, in the order of `index`.
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its place in `ALL`.
            pub const fn index(self) -> usize {
                self as usize
            }

            /// As it stands in the log and as a label of metrics.
            pub const fn name(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }

            /// What it means, for the reference of the log.
            pub const fn meaning(self) -> &'static str {
                match self {
                    $(Self::$variant => concat!($($doc),+).trim_ascii(),)+
                }
            }
        }
    };
}

pub(super) use words;
