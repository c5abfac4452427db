//! Macros: what a milter is told beside the commands. Which are told when is as Postfix does by default,
//! unless the milter says what it wants.

use std::net::IpAddr;

use super::agreement::Agreement;
use super::code::command;
use super::macro_names::MacroNames;
use super::packet;
use crate::filter::Subject;
use crate::mail::envelope::Mailbox;

/// What the server says of itself.
const VERSION: &str = concat!("ringmx ", env!("CARGO_PKG_VERSION"));

/// Says the macros of this command, if there are any. What is not known is not told.
pub(super) fn push(
    code: u8,
    subject: &Subject<'_>,
    recipient: Option<Mailbox<'_>>,
    agreement: &Agreement,
    output: &mut Vec<u8>,
) {
    if !agreement.takes_macros(code) {
        return;
    }
    let names = agreement.macros(code).unwrap_or_else(|| MacroNames::of(defaults(code)));
    let told: Vec<(&str, Vec<u8>)> =
        names.names().filter_map(|name| Some((name, value(name, subject, recipient)?))).collect();
    if told.is_empty() {
        return;
    }
    // Each has a bounded value, so all of them fit: no packet is cut in the middle of one.
    packet::push(output, command::MACROS, |data| {
        data.push(code);
        for (name, value) in &told {
            packet::push_text(data, name.as_bytes());
            packet::push_text(data, value);
        }
    });
}

/// Those that are told unless the milter asks for others.
fn defaults(code: u8) -> &'static [&'static str] {
    match code {
        command::CONNECT => &["j", "{daemon_name}", "v", "_"],
        command::HELO => &["{tls_version}", "{cipher}"],
        command::MAIL => &["i", "{mail_addr}", "{mail_host}"],
        command::RECIPIENT => &["i", "{rcpt_addr}", "{rcpt_host}"],
        command::DATA | command::END_OF_HEADER | command::END => &["i"],
        _ => &[],
    }
}

fn value(name: &str, subject: &Subject<'_>, recipient: Option<Mailbox<'_>>) -> Option<Vec<u8>> {
    let Subject { id, envelope, client, hostname } = subject;
    let reverse_path = envelope.reverse_path();
    let sender = (!reverse_path.is_empty()).then(|| Mailbox::of_whole(reverse_path));
    let address = client.address.ip().to_canonical();
    Some(match name {
        "j" | "{daemon_name}" => hostname.as_bytes().to_vec(),
        "v" => VERSION.into(),
        "_" => [&client_name(subject)[..], format!(" [{address}]").as_bytes()].concat(),
        "{client_addr}" => address.to_string().into_bytes(),
        "{client_name}" => client_name(subject),
        "{client_port}" => client.address.port().to_string().into_bytes(),
        "{client_ptr}" => {
            let name = &client.standing.reverse_name;
            if name.is_empty() { b"unknown".to_vec() } else { name.clone() }
        }
        "{tls_version}" => client.tls.as_ref()?.version.into(),
        "{cipher}" => client.tls.as_ref()?.cipher.into(),
        "i" => id.text().to_vec(),
        "{mail_addr}" => reverse_path.to_vec(),
        "{mail_host}" => sender?.domain.to_vec(),
        "{rcpt_addr}" => recipient?.whole.to_vec(),
        "{rcpt_host}" => recipient?.domain.to_vec(),
        _ => return None,
    })
}

/// The client's name by its address, or the address in brackets, as Sendmail has it.
pub(super) fn client_name(subject: &Subject<'_>) -> Vec<u8> {
    let name = &subject.client.standing.reverse_name;
    if !name.is_empty() {
        return name.clone();
    }
    match subject.client.address.ip().to_canonical() {
        IpAddr::V4(address) => format!("[{address}]").into_bytes(),
        IpAddr::V6(address) => format!("[IPv6:{address}]").into_bytes(),
    }
}
