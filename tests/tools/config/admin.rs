//! `[admin]`: where it may listen, and for whom.

use ringmx::config::AdminAddress;

use super::{REST, assert_problems, assert_warnings, good};

fn address(text: &str) -> Option<String> {
    good(&format!("{REST}{text}")).admin.map(|admin| admin.address.to_string())
}

#[test]
fn it_is_off_without_its_table_and_on_loopback_with_it() {
    assert_eq!(address(""), None);
    assert_eq!(address("[admin]\n").as_deref(), Some("127.0.0.1:9725"));
    assert_eq!(address("[admin]\naddress = \"[::1]:80\"\n").as_deref(), Some("[::1]:80"));
    let unix = good(&format!("{REST}[admin]\naddress = \"unix:run/admin.sock\"\n")).admin.expect("on");
    assert_eq!(unix.address, AdminAddress::Unix("/etc/ringmx/run/admin.sock".into()));
    let others = "[admin]\naddress = \"[::]:9725\"\nallow = [\"192.0.2.0/24\", \"2001:db8::/32\"]\n";
    assert_eq!(good(&format!("{REST}{others}")).admin.expect("on").allow.len(), 2);
}

#[test]
fn an_address_beyond_loopback_needs_to_know_whom_to_let_in() {
    for address in ["0.0.0.0:9725", "[::]:9725", "192.0.2.1:1", "[::ffff:192.0.2.1]:1"] {
        let shown = address.replace("[::ffff:192.0.2.1]", "192.0.2.1");
        assert_problems(
            &format!("{REST}[admin]\naddress = \"{address}\"\n"),
            &[&format!(
                ":6: admin.address: {shown} can be reached from other machines, and nobody is named who may connect; set \
                 `allow`, or listen on \"127.0.0.1:9725\" or \"unix:/run/ringmx/admin.sock\""
            )],
        );
    }
    assert_warnings(
        &format!("{REST}[admin]\naddress = \"192.0.2.1:1\"\nallow = [\"0.0.0.0/0\"]\n"),
        &[
            ":7: admin.allow: 0.0.0.0/0 holds strangers, and each of them sees how this receiver does; name your own networks",
        ],
    );
    assert_warnings(
        &format!("{REST}[admin]\nallow = [\"192.0.2.0/24\"]\n"),
        &[
            ":6: admin.allow: nobody of these networks can reach 127.0.0.1:9725; take `allow` out, or change `address`",
        ],
    );
}

#[test]
fn what_is_no_address_says_what_is_one() {
    let long = "x".repeat(120);
    for (address, told) in [
        ("9725", "\"9725\" is neither an IP address and a port, such as \"127.0.0.1:9725\", nor a Unix socket, such as \
                  \"unix:/run/ringmx/admin.sock\"".to_owned()),
        ("localhost:9725", "\"localhost:9725\" is neither an IP address and a port, such as \"127.0.0.1:9725\", nor a Unix \
                            socket, such as \"unix:/run/ringmx/admin.sock\"".to_owned()),
        ("unix:", "\"unix:\": after `unix:` comes the path of a socket".to_owned()),
        (&format!("unix:/{long}"), format!("/{long} has 121 octets, and the path of a Unix socket at most 107")),
        ("127.0.0.1:2525", "127.0.0.1:2525 is already the address of a listener".to_owned()),
    ] {
        assert_problems(
            &format!("{REST}[admin]\naddress = \"{address}\"\n"),
            &[&format!(":6: admin.address: {told}")],
        );
    }
}

const FORWARD: &str = "[[forward]]\nto = [\"smtp://127.0.0.1:26\"]\n[forward_queue]\ndsn = \"all\"\ndsn_via = \"smtp://127.0.0.1:27\"\n";

/// A receiver with a spool, and mail that goes on from it.
fn forwarding(more: &str) -> String {
    format!(
        "hostname = \"mx.example.org\"\n[[listener]]\naddress = \"127.0.0.1:2525\"\n[[sink]]\nkind = \"spool\"\n\
         path = \"spool\"\n{FORWARD}{more}"
    )
}

#[test]
fn the_forwarder_has_an_address_of_its_own() {
    let of = |text: &str| {
        good(&forwarding(text)).forward_admin.map(|admin| (admin.table, admin.address.to_string()))
    };
    assert_eq!(of(""), None);
    assert_eq!(of("[forward_admin]\n"), Some(("forward_admin", "127.0.0.1:9726".to_owned())));
    let both = good(&forwarding("[admin]\n[forward_admin]\naddress = \"127.0.0.1:1\"\n"));
    assert_eq!(both.admin.expect("on").address.to_string(), "127.0.0.1:9725");
    assert_eq!(both.forward_admin.expect("on").address.to_string(), "127.0.0.1:1");
    // The kernel gives each its own.
    good(&forwarding("[admin]\naddress = \"127.0.0.1:0\"\n[forward_admin]\naddress = \"127.0.0.1:0\"\n"));
    for (address, text) in [
        (
            "127.0.0.1:9725",
            "127.0.0.1:9725 is already the address of [admin], which is the receiver's: the forwarder needs one of its own",
        ),
        ("127.0.0.1:2525", "127.0.0.1:2525 is already the address of a listener"),
        (
            "192.0.2.1:9",
            "192.0.2.1:9 can be reached from other machines, and nobody is named who may connect; set `allow`, or \
                         listen on \"127.0.0.1:9726\" or \"unix:/run/ringmx-forward/admin.sock\"",
        ),
    ] {
        let config = forwarding(&format!("[admin]\n[forward_admin]\naddress = \"{address}\"\n"));
        assert_problems(&config, &[&format!(":14: forward_admin.address: {text}")]);
    }
}
