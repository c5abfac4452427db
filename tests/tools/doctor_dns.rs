//! `ringmx doctor` and the DNS: what it prints of a zone that is right, of each fault of one, and where
//! nobody answers.

use std::path::Path;
use std::process::Command;

use support::dns_server::{Behaviour, DnsServer};

const HOST: &str = "mx.example.org";

/// A server whose mail comes from other machines, to an address that this one need not have: nothing listens.
const CONFIG: &str = "hostname = \"mx.example.org\"\ndomains = [\"example.org\"]\n\
    [[listener]]\naddress = \"192.0.2.1:25\"\n[early]\nsender_domain = \"warn\"\n\
    [shards]\ncpus = [CPU]\nbuffers = 16\nblock_memory = \"4MiB\"\nconnections_max = 10\nring_entries = 64\n\
    [limits]\nmessage_size_max = \"1MiB\"\nspill_files_max = 0\n[[sink]]\nkind = \"discard\"\n";

/// What `doctor` prints of a configuration, with these lines after it, that asks this server.
fn printed(folder: &Path, config: &str, server: std::net::SocketAddr, more: &str) -> String {
    let cpu = ringmx::shard::affinity::allowed_cpus().expect("affinity")[0].to_string();
    let config = config.replace("CPU", &cpu);
    let file = folder.join("ringmx.toml");
    std::fs::write(&file, format!("{config}[dns]\nservers = [\"{server}\"]\n{more}"))
        .expect("a configuration");
    let mut doctor = Command::new(env!("CARGO_BIN_EXE_ringmx"));
    let output = doctor.args(["doctor", "--config"]).arg(file).output().expect("it runs");
    let text = String::from_utf8(output.stdout).expect("UTF-8");
    assert!(!text.is_empty(), "{}", String::from_utf8_lossy(&output.stderr));
    text
}

/// A folder with a certificate, and the zone that fits it.
struct Place {
    folder: tempfile::TempDir,
    server: DnsServer,
    /// The digest of the certificate's key.
    key: Vec<u8>,
}

impl Place {
    fn new() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let made = ringmx::tls::self_signed::make(&[HOST.to_owned()]).expect("a certificate");
        let chain = folder.path().join("mx.pem");
        std::fs::write(&chain, made.chain).expect("written");
        std::fs::write(folder.path().join("mx.key"), made.key).expect("written");
        let record = ringmx::tls::tlsa::records(&chain, None, 25).expect("a record");
        let digest = record.split_whitespace().next_back().expect("a digest");
        let octet = |at: usize| u8::from_str_radix(&digest[at..at + 2], 16).expect("hexadecimal");
        let key = (0..digest.len()).step_by(2).map(octet).collect();
        let place = Self { folder, server: DnsServer::start(), key };
        place.fill();
        place
    }

    /// A zone without a fault.
    fn fill(&self) {
        let server = &self.server;
        server.validate().address_of(HOST, "192.0.2.1").ptr("192.0.2.1", HOST);
        server.mx("example.org", 20, "mx2.example.net").mx("example.org", 10, HOST);
        server.txt("example.org", "v=spf1 mx -all").txt("_dmarc.example.org", "v=DMARC1; p=reject");
        server.address_of("mx2.example.net", "198.51.100.1");
        server.tlsa("_25._tcp.mx.example.org", [3, 1, 1], &self.key);
        server.txt("_mta-sts.example.org", "v=STSv1; id=20260101T000000;");
        server.address_of("mta-sts.example.org", "192.0.2.2");
    }

    fn doctor(&self, more: &str) -> String {
        printed(self.folder.path(), CONFIG, self.server.address(), more)
    }

    fn doctor_with_certificate(&self) -> String {
        self.doctor("[[tls.certificate]]\nchain = \"mx.pem\"\nkey = \"mx.key\"\n")
    }
}

#[test]
fn a_zone_that_is_right_has_notes_only() {
    let place = Place::new();
    let text = place.doctor_with_certificate();
    for line in [
        &format!("note    DNS server: {} answers in ", place.server.address()),
        ", and validates (DNSSEC)\n",
        "note    MX: example.org: MX mx.example.org (10), mx2.example.net (20)\n",
        "note    SPF: example.org: SPF pass for 192.0.2.1 (mx)\n",
        "note    DMARC: example.org: DMARC p=reject\n",
        "note    TLSA: _25._tcp.mx.example.org fits the certificate\n",
        "note    MTA-STS: example.org: MTA-STS; the policy is not fetched here, and has to have the line \
         `mx: mx.example.org` or `mx: *.example.org`\n",
        "# curl https://mta-sts.example.org/.well-known/mta-sts.txt\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    for check in ["host name", "reverse name"] {
        assert!(!text.contains(&format!(" {check}: ")), "{text}");
    }
}

/// What is wrong with a zone, and the line that says so.
type Fault = (fn(&Place), &'static str);

/// Records that are gone.
const MISSING: &[Fault] = &[
    (|place| _ = place.server.forget(HOST), "limits  host name: mx.example.org has no address\n"),
    (
        |place| _ = place.server.forget("1.2.0.192.in-addr.arpa"),
        "hint    reverse name: 192.0.2.1: has no name\n",
    ),
    (
        |place| _ = place.server.forget("example.org"),
        "limits  MX: example.org: there is no such domain in the DNS\n",
    ),
    (
        |place| _ = place.server.forget("example.org").txt("example.org", "v=spf1 -all"),
        "hint    MX: example.org: no MX record\n",
    ),
    (
        |place| _ = place.server.forget("example.org").txt("example.org", "other"),
        "hint    SPF: example.org: no SPF record\n",
    ),
    (|place| _ = place.server.forget("_dmarc.example.org"), "hint    DMARC: example.org: no DMARC record\n"),
    (
        |place| _ = place.server.forget("_25._tcp.mx.example.org"),
        "note    TLSA: no record _25._tcp.mx.example.org\n",
    ),
    (|place| _ = place.server.forget("_mta-sts.example.org"), "note    MTA-STS: example.org: no MTA-STS\n"),
    (
        |place| _ = place.server.forget("mta-sts.example.org"),
        "limits  MTA-STS: example.org: MTA-STS, and mta-sts.example.org, which has the policy, has no address\n",
    ),
];

/// Records that are others than they should be, or too many.
const WRONG: &[Fault] = &[
    (
        |place| _ = place.server.forget(HOST).address_of(HOST, "192.0.2.9"),
        "hint    host name: mx.example.org is 192.0.2.9; this machine has 192.0.2.1\n",
    ),
    (
        |place| {
            place.server.forget("1.2.0.192.in-addr.arpa").ptr("192.0.2.1", "pool.example.net");
        },
        "hint    reverse name: 192.0.2.1: leads to pool.example.net, not to mx.example.org\n",
    ),
    (
        |place| _ = place.server.forget("example.org").mx("example.org", 10, "mail.example.net"),
        "hint    MX: example.org: MX mail.example.net (10), not mx.example.org\n",
    ),
    (
        |place| _ = place.server.forget("example.org").mx("example.org", 0, "."),
        "limits  MX: example.org: its MX says that it takes no mail\n",
    ),
    (
        |place| _ = place.server.txt("example.org", "v=spf1 a -all"),
        "limits  SPF: example.org: SPF permerror: example.org has more than one SPF record\n",
    ),
    (
        |place| _ = place.server.forget("example.org").txt("example.org", "v=spf1 mx all -all:x"),
        "limits  SPF: example.org: SPF permerror: \"-all:x\" is no term\n",
    ),
    (
        |place| _ = place.server.forget("example.org").txt("example.org", "v=spf1 -all"),
        "note    SPF: example.org: SPF fail for 192.0.2.1 (-all)\n",
    ),
    (
        |place| _ = place.server.txt("_dmarc.example.org", "v=DMARC1; p=none"),
        "limits  DMARC: example.org: 2 DMARC records\n",
    ),
    (
        |place| {
            place.server.forget("_dmarc.example.org").txt("_dmarc.example.org", "v=DMARC1; p=maybe");
        },
        "limits  DMARC: example.org: a DMARC record that cannot be followed\n",
    ),
    (
        |place| _ = place.server.forget("_dmarc.example.org").txt("_dmarc.org", "v=DMARC1; p=none; psd=y"),
        "note    DMARC: example.org: DMARC p=none (of org)\n",
    ),
    (
        |place| _ = place.server.txt("_mta-sts.example.org", "v=STSv1; id=2"),
        "limits  MTA-STS: example.org: 2 MTA-STS records\n",
    ),
    (
        |place| _ = place.server.forget("_mta-sts.example.org").txt("_mta-sts.example.org", "v=STSv1;"),
        "limits  MTA-STS: example.org: the MTA-STS record has no id of 1 to 32 letters and digits\n",
    ),
];

/// TLSA records that are not the certificate's.
const TLSA: &[Fault] = &[
    (
        |place| set_tlsa(place, [3, 1, 1], &[7; 32]),
        "FAILS   TLSA: _25._tcp.mx.example.org does not fit the certificate\n",
    ),
    (
        |place| set_tlsa(place, [2, 1, 3], &place.key),
        "limits  TLSA: _25._tcp.mx.example.org is of no kind that is used\n",
    ),
    (
        |place| set_tlsa(place, [1, 1, 1], &place.key),
        "limits  TLSA: _25._tcp.mx.example.org is of no kind that is used\n",
    ),
];

fn set_tlsa(place: &Place, fields: [u8; 3], data: &[u8]) {
    let name = "_25._tcp.mx.example.org";
    place.server.forget(name).tlsa(name, fields, data);
}

#[test]
fn each_fault_of_a_zone_is_told_in_its_line() {
    for (make, line) in [MISSING, WRONG, TLSA].concat() {
        let place = Place::new();
        make(&place);
        let text = place.doctor_with_certificate();
        assert!(text.contains(line), "{line}\n{text}");
    }
}

#[test]
fn a_second_record_of_the_next_key_is_no_fault() {
    let place = Place::new();
    place.server.tlsa("_25._tcp.mx.example.org", [3, 1, 1], &[7; 32]);
    assert!(place.doctor_with_certificate().contains("TLSA: _25._tcp.mx.example.org fits the certificate\n"));
}

#[test]
fn promises_of_tls_that_nobody_keeps_are_told() {
    let place = Place::new();
    let text = place.doctor("");
    let line = "FAILS   TLSA: _25._tcp.mx.example.org promises TLS, and no listener of port 25 offers it\n";
    assert!(text.contains(line), "{text}");
    assert!(text.contains("limits  MTA-STS: example.org: MTA-STS, and no certificate"), "{text}");
    let text = place.doctor("[tls]\nself_signed = true\n");
    assert!(text.contains("FAILS   TLSA: _25._tcp.mx.example.org does not fit the certificate\n"), "{text}");
    assert!(text.contains("# `self_signed` makes a key at each start"), "{text}");
}

#[test]
fn a_certificate_that_cannot_be_read_is_compared_with_nothing() {
    let place = Place::new();
    let chain = place.folder.path().join("mx.pem");
    for promise in [Some(&place.key), None] {
        if promise.is_none() {
            place.server.forget("_25._tcp.mx.example.org");
        }
        for (make, why) in [
            ((|chain| std::fs::write(chain, "")) as fn(&Path) -> std::io::Result<()>, "the file is empty"),
            (|chain| std::fs::remove_file(chain), "cannot be read: No such file"),
        ] {
            make(&chain).expect("done");
            let text = place.doctor_with_certificate();
            let error = format!("could not be compared: {}: {why}", chain.display());
            let tlsa = format!("hint    TLSA: _25._tcp.mx.example.org {error}");
            assert_eq!(text.contains(&tlsa), promise.is_some(), "{text}");
            let sts = format!("hint    MTA-STS: example.org: MTA-STS {error}");
            assert!(text.contains(&sts), "{text}");
            assert!(!text.contains("FAILS   TLSA: ") && !text.contains("note    TLSA: "), "{text}");
        }
    }
}

#[test]
fn what_is_not_answered_is_no_fault_of_the_zone() {
    let place = Place::new();
    // The root's name servers are still told, or nobody would be asked.
    place.server.behave_by_default(Behaviour::ServerFailure).behave("", Behaviour::Right);
    let text = place.doctor_with_certificate();
    for line in [
        "hint    host name: no answer for mx.example.org\n",
        "hint    reverse name: 192.0.2.1: no answer for 1.2.0.192.in-addr.arpa\n",
        "hint    MX: example.org: no answer for example.org\n",
        "hint    SPF: example.org: no answer for example.org\n",
        "hint    DMARC: example.org: no answer for _dmarc.example.org\n",
        "hint    TLSA: no answer for _25._tcp.mx.example.org\n",
        "hint    MTA-STS: example.org: no answer for _mta-sts.example.org\n",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
}

/// One finding of who was asked, and none of what would have been asked.
fn is_all(text: &str, line: &str) {
    assert!(text.contains(line), "{line}\n{text}");
    assert_eq!(text.matches("DNS server: ").count(), 1, "{text}");
    for check in ["host name", "reverse name", "MX", "SPF", "DMARC", "TLSA", "MTA-STS"] {
        assert!(!text.contains(&format!(" {check}: ")), "{text}");
    }
}

#[test]
fn without_a_server_that_answers_there_is_one_finding() {
    let place = Place::new();
    for (behaviour, line) in [
        (Behaviour::Silent, " does not answer within 2 s: what it says of this server was not looked at\n"),
        (Behaviour::Refused, " refuses to answer this machine (REFUSED): what it says"),
        (Behaviour::ServerFailure, " fails (SERVFAIL): it does not reach other name servers: what it says"),
        (Behaviour::WrongId, " does not answer: what it sends answers nothing that was asked: what it says"),
    ] {
        place.server.behave("", behaviour);
        is_all(&place.doctor(""), line);
    }
    // Nobody listens there: the port was free a moment ago.
    let gone = DnsServer::start().address();
    let text = printed(place.folder.path(), CONFIG, gone, "");
    is_all(&text, &format!("limits  DNS server: {gone} is not there (connection refused): what it says"));
}

#[test]
fn a_server_that_does_half_of_it_is_told_and_asked() {
    let place = Place::new();
    place.server.be_deaf_over_tcp();
    let text = place.doctor("");
    assert!(text.contains(", but over TCP it does not answer within 2 s\n"), "{text}");
    assert!(text.contains("# let TCP through to port "), "{text}");
    assert!(text.contains("note    MX: "), "{text}");
    let server = DnsServer::start();
    let text = printed(place.folder.path(), CONFIG, server.address(), "");
    assert!(text.contains(", and does not validate (DNSSEC)\n"), "{text}");
}

#[test]
fn where_no_mail_comes_from_others_nobody_is_asked_about_it() {
    let place = Place::new();
    let config = CONFIG.replace("192.0.2.1:25", "127.0.0.1:25");
    let text = printed(place.folder.path(), &config, place.server.address(), "");
    assert!(text.contains("note    DNS server: ") && !text.contains(" MX: "), "{text}");
    let asked = place.server.asked_in_all();
    let config = config.replace("[early]\nsender_domain = \"warn\"\n", "");
    let text = printed(place.folder.path(), &config, place.server.address(), "");
    assert!(!text.contains("DNS server: "), "{text}");
    assert_eq!(place.server.asked_in_all(), asked);
}
