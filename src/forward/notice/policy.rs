//! Who is owed a notice, and who may have one.

use super::recipient::Action;
use super::vouched::is_vouched_for;
use crate::config::forward::Dsn;
use crate::mail::authentication::Authentication;
use crate::mail::envelope::{Envelope, Mailbox, Notify};

/// Whether the sender wants to know this of a recipient with this NOTIFY (RFC 3461 §4.1). Without it a
/// failure alone is told. What a next hop tells that offers DSN itself is not asked here.
pub fn is_owed(action: Action, notify: Option<Notify>) -> bool {
    let asked = match action {
        Action::Failed => Notify::FAILURE,
        Action::Delayed => Notify::DELAY,
        Action::Delivered | Action::Relayed => Notify::SUCCESS,
    };
    let notify = notify.unwrap_or(Notify::FAILURE);
    notify.bits() & asked.bits() != 0
}

/// Whether the sender of a message may have notices of it. Nobody tells the null reverse-path anything
/// (RFC 5321 §4.5.5), and whose address was forged perhaps is told nothing unless all are.
pub fn may_have(dsn: Dsn, envelope: &Envelope, authentication: &Authentication) -> bool {
    let path = envelope.reverse_path();
    if path.is_empty() {
        return false;
    }
    match dsn {
        Dsn::Off => false,
        Dsn::Authenticated => is_vouched_for(Mailbox::of_whole(path).domain, &authentication.results),
        Dsn::All => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn notify_says_what_is_told() {
        const ALL: [Action; 4] = [Action::Failed, Action::Delayed, Action::Delivered, Action::Relayed];
        for (notify, expected) in [
            (None, [true, false, false, false]),
            (Some(Notify::NEVER), [false; 4]),
            (Some(Notify::FAILURE), [true, false, false, false]),
            (Some(Notify::DELAY), [false, true, false, false]),
            (Some(Notify::SUCCESS), [false, false, true, true]),
            (Some(Notify::SUCCESS.and(Notify::FAILURE).and(Notify::DELAY)), [true; 4]),
        ] {
            assert_eq!(ALL.map(|action| is_owed(action, notify)), expected, "{notify:?}");
        }
    }

    #[test]
    fn the_null_reverse_path_and_forged_senders_have_none() {
        let pass = "{\"version\":1,\"spf\":{\"mailfrom\":{\"result\":\"pass\",\"domain\":\"x.test\"}}}";
        for (path, results, expected) in [
            (("", ""), pass, [false, false, false]),
            (("a", "x.test"), pass, [false, true, true]),
            (("a", "y.test"), pass, [false, false, true]),
            (("a", "x.test"), "", [false, false, true]),
        ] {
            let mut envelope = Envelope::default();
            envelope.set_reverse_path(path.0.as_bytes(), path.1.as_bytes());
            let authentication = Authentication { results: results.to_owned(), ..Authentication::default() };
            let may =
                [Dsn::Off, Dsn::Authenticated, Dsn::All].map(|dsn| may_have(dsn, &envelope, &authentication));
            assert_eq!(may, expected, "{path:?}");
        }
    }
}
