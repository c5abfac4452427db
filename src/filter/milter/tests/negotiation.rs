//! What is agreed upon at first.

use super::*;

const OFFER: &str = "R: O 6 121 101ff7ff";

#[test]
fn it_offers_version_6_and_only_what_is_done() {
    script(&format!("{OFFER}\nM: O 6 0 0"));
    let mut offer = Vec::new();
    Session::new().advance(&mut &b""[..], &mut offer);
    let data = packet::first(&offer).expect("a packet").data;
    let words: Vec<u32> =
        data.chunks(4).map(|word| u32::from_be_bytes(word.try_into().expect("four"))).collect();
    // Header fields, quarantine, lists of macros; all options but `SMFIP_RCPT_REJ`; `SMFIP_MDS_256K`.
    assert_eq!(words, [6, 1 | 1 << 5 | 1 << 8, ((1 << 21) - 1) & !(1 << 11) | 1 << 28]);
}

#[test]
fn a_milter_that_wants_more_than_is_offered_has_a_fault_that_names_it() {
    for (options, fault) in [
        (
            "6 11 0",
            "the milter insists on what is not offered: changing header fields (SMFIF_CHGHDRS); configure it so \
             that it adds header fields at most",
        ),
        (
            "6 3ff 0",
            "the milter insists on what is not offered: replacing the body (SMFIF_CHGBODY), adding recipients \
             (SMFIF_ADDRCPT), deleting recipients (SMFIF_DELRCPT), changing header fields (SMFIF_CHGHDRS), \
             changing the reverse-path (SMFIF_CHGFROM), adding recipients with parameters (SMFIF_ADDRCPT_PAR), \
             actions 0x200; configure it so that it adds header fields at most",
        ),
        ("6 0 800", "the milter insists on protocol options that are not offered: 0x800 (SMFIP_)"),
        ("6 0 20000000", "the milter insists on protocol options that are not offered: 0x20000000 (SMFIP_)"),
        ("6 0 200000", "the milter insists on protocol options that are not offered: 0x200000 (SMFIP_)"),
        ("7 0 0", "the milter speaks version 7 of the protocol, not 2 to 6"),
        ("1 0 0", "the milter speaks version 1 of the protocol, not 2 to 6"),
        ("6 0 0 2=i", "the reply 'O' has data that does not fit"),
    ] {
        script(&format!("{OFFER}\nM: O {options}\n= {fault}"));
    }
}

#[test]
fn nothing_but_its_options_is_a_reply_to_ours() {
    for (said, fault) in [
        ("c", "the reply 'c' does not answer what was said (option negotiation)"),
        ("y550 5.7.1 No|", "the reply 'r' does not answer what was said (option negotiation)"),
        ("O 6 0 0\nM: c", "the reply 'c' answers nothing"),
        ("<raw>00000003", ""),
        ("<raw>000000024f00", "the reply 'O' has data that does not fit"),
        ("<raw>0000000a4f000000060000000000", "the reply 'O' has data that does not fit"),
        (
            "<close>",
            "the milter closed the connection (option negotiation): it may insist on more than adding header fields",
        ),
        ("<timeout>", "the milter did not answer in time (option negotiation)"),
    ] {
        let found = if fault.is_empty() { String::new() } else { format!("= {fault}") };
        script(&format!("{OFFER}\nM: {said}\n{found}"));
    }
}

/// Each version with what it knows: DATA since 4, macros for the end of the header section and connections
/// that are kept since 6.
#[test]
fn older_versions_are_told_what_they_know() {
    for version in 2..=6 {
        let data = if version >= 4 { "R: DT i=ID\nR: T\nM: c\n" } else { "" };
        let macros = if version >= 6 { "R: DN i=ID\n" } else { "" };
        let end = if version >= 6 { "R: K" } else { "" };
        let spent = if version >= 6 { "" } else { "= spent" };
        script(&with_id(&format!(
            "T: body=\n{OFFER}\nM: O {version} 0 7e\n{FIRST}{data}{macros}R: DE i=ID\nR: E\nM: c\n{end}\n= pass\n\
             {spent}"
        )));
    }
}

/// What is told of a message of which a milter wants to know the connection and the end.
const FIRST: &str = "R: DC j=mx {daemon_name}=mx v=ringmx _=[192.0.2.1] [192.0.2.1]\n\
     R: C [192.0.2.1] 4 25 192.0.2.1|\nM: c\nR: DM i=ID {mail_addr}=a@s {mail_host}=s\n";

pub(super) fn with_id(text: &str) -> String {
    text.replace("i=ID", &format!("i={}", QueueId(1)))
}

#[test]
fn it_is_told_the_macros_that_it_asks_for_where_it_asks() {
    let places = "0={client_addr},{client_port},{client_name},nothing| 2=mail_addr| 5=| 9=what|";
    script(&with_id(&format!(
        "T: body=\n{OFFER}\nM: O 6 100 2ff {places}\n\
         R: DC {{client_addr}}=192.0.2.1 {{client_name}}=[192.0.2.1] {{client_port}}=25\n\
         R: DM {{mail_addr}}=a@s\nR: DT i=ID\nR: DN i=ID\nR: E\nM: c\n= pass\n= spent"
    )));
}

/// A list as long as a packet, for each of many recipients.
#[test]
fn a_macro_that_it_asks_for_often_is_told_once() {
    let mut options = Vec::new();
    packet::push(&mut options, command::NEGOTIATE, |data| {
        for word in [6, 1 << 8, 0x37f & !(1 << 3), 3_u32] {
            data.extend_from_slice(&word.to_be_bytes());
        }
        packet::push_text(data, "i rcpt_addr ".repeat(5000).as_bytes());
    });
    let mut driver = Driver::new(vec![Planned::of("to=b@x,c@x")]);
    driver.feed(b"");
    driver.feed(&options);
    assert!(driver.said.contains(&with_id("R: DR i=ID {rcpt_addr}=b@x\nR: R <b@x>|\n")), "{}", driver.said);
}
