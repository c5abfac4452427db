use super::*;

#[test]
fn envelopes_with_many_recipients_share_a_budget() {
    let budget = EnvelopeBudget::new(40 * 1024);
    let mut first = Envelope::within(&budget);
    first.push_recipient(b"one", b"x.test");
    assert!(first.count() && budget.bytes() == 0, "a usual envelope is not counted");
    let add = |envelope: &mut Envelope| {
        envelope.push_recipient(&[b'a'; 60], b"x.test");
        envelope.count()
    };
    let taken = (0..1000).take_while(|_| add(&mut first)).count();
    assert!((100..900).contains(&taken), "{taken}");
    let mut second = Envelope::within(&budget);
    assert!((0..20).all(|_| add(&mut second)), "those of others are taken on");
    drop(second);
    first.clear();
    assert_eq!(budget.bytes(), 0);
}

#[test]
fn those_of_an_alias_that_have_no_room_leave_nothing_behind() {
    let budget = EnvelopeBudget::new(40 * 1024);
    let mut envelope = Envelope::within(&budget);
    envelope.push_recipient(b"all", b"x.test");
    let members: Vec<_> = (0..2000).map(|number| format!("member-{number}@x.test")).collect();
    let bytes = |envelope: &Envelope| {
        let recipients = envelope.recipients.capacity() * size_of::<Recipient>();
        envelope.text.capacity() + recipients + envelope.repeated.bytes()
    };
    let mut source = Envelope::default();
    for member in &members {
        source.push_whole_recipient(member.as_bytes());
    }
    assert!(!envelope.replace_last_recipient(source.recipients(), false));
    assert!(bytes(&envelope) < ENVELOPE_BYTES_FREE && budget.bytes() == 0, "{}", bytes(&envelope));
    assert_eq!(envelope.recipients().map(|one| one.whole.to_vec()).collect::<Vec<_>>(), [b"all@x.test"]);
    envelope.push_recipient(b"All", b"x.test");
    assert!(envelope.last_recipient_is_repeated(false));
}

#[test]
fn a_recipient_that_an_alias_brought_has_the_parameters_of_the_rcpt_that_names_it() {
    let mut envelope = Envelope::default();
    envelope.push_recipient(b"all", b"x.test");
    envelope.set_recipient_parameters(RecipientParameters { notify: Some(Notify::NEVER), orcpt: b"" });
    let mut members = Envelope::default();
    for member in [&b"one@x.test"[..], b"two@x.test"] {
        members.push_whole_recipient(member);
    }
    assert!(envelope.replace_last_recipient(members.recipients(), false));
    let orcpt = &b"rfc822;one@x.test"[..];
    envelope.push_recipient(b"One", b"x.test");
    let Some(Repeats::Brought(brought)) = envelope.last_recipient_repeats(false) else {
        panic!("an alias brought it")
    };
    envelope.set_recipient_parameters(RecipientParameters { notify: None, orcpt });
    envelope.merge_into(brought);
    envelope.push_recipient(b"three", b"x.test");
    envelope.retract_recipient();
    let seen: Vec<_> =
        envelope.recipients_with_parameters().map(|(mailbox, told)| (mailbox.whole, told)).collect();
    let never = RecipientParameters { notify: Some(Notify::NEVER), orcpt: b"" };
    let named = RecipientParameters { notify: None, orcpt };
    assert_eq!(seen, [(&b"one@x.test"[..], named), (b"two@x.test", never)]);
}

#[test]
fn a_recipient_is_seen_in_its_two_parts() {
    let mut envelope = Envelope::default();
    envelope.set_reverse_path(b"a", b"x.test");
    envelope.push_recipient(b"\"b@c\"", b"y.test");
    assert_eq!(envelope.reverse_path(), b"a@x.test");
    let recipient = envelope.recipients().next().expect("one recipient");
    assert_eq!((recipient.local_part, recipient.domain), (&b"\"b@c\""[..], &b"y.test"[..]));
    assert_eq!(recipient.whole, b"\"b@c\"@y.test");
}

#[test]
fn the_null_reverse_path_is_empty() {
    let mut envelope = Envelope::default();
    envelope.set_reverse_path(b"", b"");
    assert_eq!(envelope.reverse_path(), b"");
}

#[test]
fn parameters_belong_to_their_recipient() {
    let mut envelope = Envelope::default();
    envelope.set_envid(b"id");
    envelope.push_recipient(b"b", b"y.test");
    let notify = Some(Notify::SUCCESS.and(Notify::DELAY));
    envelope.set_recipient_parameters(RecipientParameters { notify, orcpt: b"rfc822;b" });
    envelope.push_recipient(b"c", b"y.test");
    envelope.set_recipient_parameters(RecipientParameters { notify: None, orcpt: b"rfc822;c" });
    envelope.retract_recipient();
    envelope.push_recipient(b"d", b"y.test");
    let seen: Vec<_> = envelope.recipients_with_parameters().collect();
    assert_eq!(
        (seen[0].0.whole, seen[0].1.notify, seen[0].1.orcpt),
        (&b"b@y.test"[..], notify, &b"rfc822;b"[..])
    );
    assert_eq!((seen[1].0.whole, seen[1].1), (&b"d@y.test"[..], RecipientParameters::default()));
    assert_eq!(
        (envelope.envid(), notify.map(|notify| notify.to_string())),
        (&b"id"[..], Some("SUCCESS,DELAY".into()))
    );
}

#[test]
fn a_recipient_that_was_written_down_whole_is_seen_in_its_two_parts() {
    let (mut envelope, mut other) = (Envelope::default(), Envelope::default());
    other.set_envid(b"elsewhere in the arena");
    other.set_envid(b"");
    for mailbox in [&b"\"b@c\"@y.test"[..], b"anna@y.test"] {
        envelope.push_whole_recipient(mailbox);
    }
    other.push_recipient(b"\"b@c\"", b"y.test");
    other.push_recipient(b"anna", b"y.test");
    assert_eq!(envelope, other);
    assert!(envelope.set_orcpt(b"rfc822;x") && envelope.set_notify(Some(Notify::NEVER)));
    assert_ne!(envelope, other);
    envelope.push_whole_recipient(b"no at");
    let last = envelope.last_recipient().expect("one");
    assert_eq!((last.local_part, last.domain, last.whole), (&b"no at"[..], &b""[..], &b"no at"[..]));
    assert!(!Envelope::default().set_orcpt(b"x") && !Envelope::default().set_notify(None));
}

#[test]
fn a_cleared_envelope_says_nothing() {
    let mut envelope = Envelope { smtputf8: true, size_declared: Some(7), ..Envelope::default() };
    envelope.push_recipient(b"b", b"y.test");
    envelope.clear();
    assert_eq!(envelope.recipients().len(), 0);
    assert!(!envelope.smtputf8 && envelope.size_declared.is_none());
}
