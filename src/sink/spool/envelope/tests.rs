//! Envelopes as records and as JSON, there and back.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::buffer::{Arena, MailData};
use crate::handoff::message::{LogFacts, Origin, Progress};
use crate::mail::client::{ClientFacts, TlsFacts};
use crate::mail::envelope::RecipientParameters;

proptest! {
    #[test]
    fn an_envelope_reads_back(
        id: u128,
        micros in 0..u64::MAX / 2_000,
        address: SocketAddr,
        ehlo: Vec<u8>,
        reverse_path: (Vec<u8>, Vec<u8>),
        recipients: Vec<(Vec<u8>, Vec<u8>, Option<u8>, Vec<u8>)>,
        flags: (bool, bool, bool, Option<bool>),
        tls: Option<(bool, bool, Option<String>)>,
        envid: Vec<u8>,
        size_declared: Option<u64>,
        received: Vec<u8>,
        reverse_name: Vec<u8>,
        reasons: Vec<(String, i32)>,
        authentication: (String, bool, String),
    ) {
        let (results, is_suspicious, filters) = authentication;
        let authentication = Authentication { results, is_suspicious, filters };
        let reason = |(name, weight): &(String, i32)| Reason { name: name.as_str().into(), weight: *weight };
        let standing = Standing { reverse_name, reasons: reasons.iter().map(reason).collect() };
        let mut envelope = Envelope::default();
        envelope.smtputf8 = flags.0;
        envelope.bare_line_ends = flags.1;
        envelope.size_declared = size_declared;
        envelope.body = BodyType::BinaryMime;
        envelope.set_reverse_path(&reverse_path.0, &reverse_path.1);
        envelope.requiretls = flags.2;
        envelope.ret = flags.3.map(|full| if full { Ret::Full } else { Ret::Headers });
        envelope.set_envid(&envid);
        let notify = |bits: Option<u8>| bits.and_then(|bits| Notify::from_bits(bits % 8));
        for (local_part, domain, bits, orcpt) in &recipients {
            envelope.push_recipient(local_part, domain);
            envelope.set_recipient_parameters(RecipientParameters { notify: notify(*bits), orcpt });
        }
        let message = Message {
            id: QueueId(id),
            origin: Origin { shard: 0, connection: 0 },
            envelope: Box::new(envelope),
            client: ClientFacts {
                address: SocketAddr::new(address.ip(), address.port()),
                ehlo,
                protocol: "ESMTP",
                tls: tls.clone().map(|(resumed, client_certificate, name)| TlsFacts {
                    version: "TLSv1.3",
                    cipher: "TLS_AES_128_GCM_SHA256",
                    resumed,
                    client_certificate,
                    server_name: name.map(Arc::from),
                }),
                standing: standing.clone(),
            },
            received_at: timestamp::from_micros(micros),
            received,
            authentication: authentication.clone(),
            data: MailData::new(Arc::new(Arena::new(1, 4096).expect("memory"))),
            place: String::new(),
            log: LogFacts::default(),
            progress: Progress::default(),
        };
        let mut octets = Vec::new();
        encode(&message, None, &mut octets);
        let stored = decode(&octets).expect("readable");
        let expected = StoredEnvelope {
            id: message.id,
            received_at: message.received_at,
            client: canonical(message.client.address),
            ehlo: message.client.ehlo.clone(),
            protocol: b"ESMTP".to_vec(),
            standing,
            authentication,
            tls: tls.map(|(resumed, client_certificate, name)| StoredTls {
                version: b"TLSv1.3".to_vec(),
                cipher: b"TLS_AES_128_GCM_SHA256".to_vec(),
                resumed,
                client_certificate,
                server_name: name.unwrap_or_default().into_bytes(),
            }),
            envelope: (*message.envelope).clone(),
            trace_bytes: message.received.len() as u64,
            file: None,
        };
        prop_assert_eq!(&stored, &expected);
        field(&mut octets, 0x7fff, b"from the future");
        prop_assert_eq!(decode(&octets), Ok(expected.clone()));
        field(&mut octets, tag::FILE, &[5, 0, 0, 0, 0, 0, 0, 0, 7, 0, 0, 0]);
        let file = Some(MessageFile { bytes: 5, crc32c: 7 });
        prop_assert_eq!(decode(&octets), Ok(StoredEnvelope { file, ..expected }));
        field(&mut octets, 0xffff, b"from the future");
        prop_assert_eq!(decode(&octets), Err(Unreadable));
    }

    #[test]
    fn any_octets_are_read_or_refused(octets: Vec<u8>) {
        let _ = decode(&octets);
    }
}

/// A message that says everything that an envelope can say.
fn full_message() -> Message {
    let mut envelope = Envelope::default();
    envelope.set_reverse_path(b"a", b"x.test");
    (envelope.body, envelope.smtputf8, envelope.requiretls) = (BodyType::EightBitMime, true, true);
    (envelope.bare_line_ends, envelope.size_declared) = (true, Some(7));
    envelope.ret = Some(Ret::Headers);
    envelope.set_envid(b"QQ+2B");
    envelope.push_recipient("jos\u{e9}".as_bytes(), b"y.test");
    let notify = Some(Notify::SUCCESS.and(Notify::DELAY));
    envelope.set_recipient_parameters(RecipientParameters { notify, orcpt: b"rfc822;b" });
    envelope.push_recipient(b"\"c@d\"", b"y.test");
    Message {
        id: QueueId(0x0123_4567_89ab_cdef),
        origin: Origin { shard: 0, connection: 0 },
        envelope: Box::new(envelope),
        client: ClientFacts {
            address: SocketAddr::from(([192, 0, 2, 1], 25)),
            ehlo: b"client.test".to_vec(),
            protocol: "ESMTPS",
            tls: Some(TlsFacts {
                version: "TLSv1.3",
                cipher: "TLS_AES_128_GCM_SHA256",
                resumed: true,
                client_certificate: true,
                server_name: Some(Arc::from("mx.test")),
            }),
            standing: Standing::default(),
        },
        received_at: timestamp::from_micros(1_000_000),
        received: b"Received: x\r\n".to_vec(),
        authentication: Authentication::default(),
        data: MailData::new(Arc::new(Arena::new(1, 4096).expect("memory"))),
        place: String::new(),
        log: LogFacts::default(),
        progress: Progress::default(),
    }
}

/// A header of a stream has to hold it, where each character that is not ASCII is escaped.
#[test]
fn an_envelope_as_json_is_no_larger_than_it_is_reckoned() {
    let json_bytes = |envelope: Envelope| {
        let mut octets = Vec::new();
        encode(&Message { envelope: Box::new(envelope), ..full_message() }, None, &mut octets);
        let json = decode(&octets).expect("readable").json_for(20, |_| true);
        json.chars().map(|char| if char.is_ascii() { 1 } else { 6 * char.len_utf16() }).sum::<usize>()
    };
    let empty = json_bytes(Envelope::default());
    for (name, smtputf8) in [("u", false), (&*"a".repeat(64), false), ("\u{fc}\u{20ac}\u{1f600}", true)] {
        for parameters in [
            RecipientParameters::default(),
            RecipientParameters { notify: Notify::from_bits(7), orcpt: b"rfc822;somebody@example.test" },
        ] {
            let mut envelope = Envelope::default();
            envelope.smtputf8 = smtputf8;
            for _ in 0..200 {
                envelope.push_recipient(name.as_bytes(), b"example.test");
                envelope.set_recipient_parameters(parameters);
            }
            let reckoned = envelope.json_bytes_max();
            let found = json_bytes(envelope) - empty;
            assert!(found <= reckoned && 3 * found > reckoned, "{name}: {found} of {reckoned}");
        }
    }
}

/// What consumers of the spool read, octet for octet.
#[test]
fn the_octets_and_the_json_of_an_envelope_are_those_of_the_version_before() {
    let mut octets = Vec::new();
    encode(&full_message(), None, &mut octets);
    assert_eq!(
        data_encoding::HEXLOWER.encode(&octets),
        [
            "010010000000efcdab89674523010000000000000000",
            "02000800000040420f0000000000",
            "030006000000c00002011900",
            "04000b000000636c69656e742e74657374",
            "05000600000045534d545053",
            "130007000000544c5376312e33",
            "140016000000544c535f4145535f3132385f47434d5f534841323536",
            "150000000000",
            "160000000000",
            "1700070000006d782e74657374",
            "0600080000006140782e74657374",
            "07000c0000006a6f73c3a940792e74657374",
            "0f000100000005",
            "1000080000007266633832323b62",
            "07000c000000226340642240792e74657374",
            "08000100000001",
            "090000000000",
            "0a00080000000700000000000000",
            "0b00080000000d00000000000000",
            "0c0000000000",
            "0d000100000001",
            "0e000500000051512b3242",
            "118000000000",
        ]
        .concat()
    );
    let stored = decode(&octets).expect("readable");
    let json = stored.facts(Cursor { sequence: 1, offset: 4096 }, 20).envelope_json();
    assert_eq!(json, [
        r#"{"cursor":"0000000000000001:4096","id":"0000000000000028t5cy4tqkff","#,
        r#""time":"1970-01-01T00:00:01.000000Z","client":"192.0.2.1:25","ehlo":"client.test","#,
        r#""protocol":"ESMTPS","reverse_path":"a@x.test","#,
        r#""tls":{"version":"TLSv1.3","cipher":"TLS_AES_128_GCM_SHA256","resumed":true,"#,
        r#""client_certificate":"unverified","server_name":"mx.test"},"#,
        r#""recipients":["josé@y.test","\"c@d\"@y.test"],"ret":"HDRS","envid":"QQ+2B","#,
        r#""recipient_parameters":[{"notify":"SUCCESS,DELAY","orcpt":"rfc822;b"},{"notify":null,"orcpt":null}],"#,
        r#""body":"8BITMIME","smtputf8":true,"requiretls":true,"bare_line_ends":true,"size_declared":7,"size":7}"#,
        "\n",
    ].concat());
}
