//! Answers that a real rspamd gave (`tests/data/rspamd`), and what none would.

use serde_json::json;

use super::super::response::ResponseReader;
use super::*;

/// What rspamd 3.4 answered, with the head of its response.
macro_rules! real {
    ($name:literal) => {
        include_bytes!(concat!("../../../../tests/data/rspamd/", $name, ".http"))
    };
}

fn of_real(octets: &[u8]) -> Ruling {
    let mut reader = ResponseReader::default();
    assert_eq!(reader.feed(octets), Ok(true));
    assert!(!reader.is_reusable(), "rspamd 3.4 closes the connection");
    ruling(reader.body()).expect("a ruling")
}

fn of(answer: &Value) -> Ruling {
    ruling(answer.to_string().as_bytes()).expect("a ruling")
}

/// As one would write it: the action, and the line of a refusal.
fn told(action: &Action) -> String {
    match action {
        Action::Refuse(reply) => reply.to_string(),
        other => format!("{other:?}"),
    }
}

fn fields(ruling: &Ruling) -> &str {
    std::str::from_utf8(&ruling.fields).expect("ASCII")
}

#[test]
fn what_a_real_rspamd_says_is_understood() {
    for (octets, action, score, added) in [
        (&real!("no_action")[..], "Pass", "0.00/15.00", ""),
        (real!("add_header"), "Mark", "7.30/15.00", "X-Spam: Yes\r\n"),
        (real!("rewrite_subject"), "Mark", "0.00/15.00", "X-Spam: Yes\r\n"),
        (real!("greylist"), "Greylist", "0.00/15.00", ""),
        (real!("soft_reject"), "451 4.7.1 Later, please", "0.00/15.00", ""),
        (real!("reject"), "550 5.7.1 Gtube pattern", "15.00/15.00", ""),
        (
            real!("add_headers"),
            "Pass",
            "0.00/15.00",
            "X-Ordered: one\r\n two\r\nX-Added: hello\r\nX-Two: a\r\nX-Two: b\r\n",
        ),
    ] {
        let ruling = of_real(octets);
        assert_eq!((&*told(&ruling.action), &*ruling.score, fields(&ruling)), (action, score, added));
    }
    assert_eq!(of_real(real!("reject")).symbols, ["GTUBE"]);
    let symbols = of_real(real!("add_header")).symbols;
    assert_eq!(symbols.len(), 20);
    let weighty =
        ["HFILTER_HOSTNAME_UNKNOWN", "HFILTER_FROMHOST_NORES_A_OR_MX", "AUTH_NA", "HFILTER_HELO_IP_A"];
    assert_eq!(symbols[..4], weighty);
    assert_eq!(symbols[5..8], ["HFILTER_HELO_NORES_A_OR_MX", "MIME_GOOD", "RCVD_NO_TLS_LAST"]);
}

#[test]
fn the_fields_of_milter_headers_stand_as_rspamd_folds_them() {
    let ruling = of_real(real!("milter_headers"));
    assert_eq!(ruling.action, Action::Mark);
    let fields = fields(&ruling);
    assert!(
        fields.starts_with(
            "Authentication-Results: mx.test;\r\n\tdkim=none;\r\n\tspf=none (mx.test: domain of"
        )
    );
    assert!(
        fields.contains("\r\nDeliver-To: Junk\r\n") && fields.contains("\r\nX-Rspamd-Action: add header\r\n")
    );
    let result =
        "\r\nX-Spamd-Result: default: False [7.30 / 15.00];\r\n\tHFILTER_HOSTNAME_UNKNOWN(2.50)[];\r\n\t";
    assert!(fields.contains(result));
    assert!(fields.contains("\r\n\tdmarc=none\r\nX-Spam: Yes\r\n"), "above what has no order: {fields}");
    assert_eq!(fields.matches("\r\n").count(), fields.matches('\n').count());
}

#[test]
fn every_action_has_its_meaning() {
    for (action, milter, meaning) in [
        ("reject", json!({}), "550 5.7.1 Spam message rejected"),
        ("Reject", json!({ "reject": "other" }), "550 5.7.1 Spam message rejected"),
        ("reject", json!({ "reject": "discard" }), "Discard"),
        ("reject", json!({ "reject": "quarantine" }), "Mark"),
        ("soft reject", json!({}), "451 4.7.1 Try again later"),
        ("soft_reject", json!({ "reject": "discard" }), "451 4.7.1 Try again later"),
        ("greylist", json!({}), "Greylist"),
        ("add header", json!({}), "Mark"),
        ("add-header", json!({}), "Mark"),
        ("rewrite subject", json!({}), "Mark"),
        ("quarantine", json!({}), "Mark"),
        ("discard", json!({}), "Discard"),
        ("no action", json!({}), "Pass"),
        ("accept", json!({}), "Pass"),
        ("of our own", json!({}), "Pass"),
    ] {
        let ruling = of(&json!({ "action": action, "milter": milter }));
        assert_eq!(told(&ruling.action), meaning, "{action} {milter}");
    }
}

#[test]
fn a_refusal_is_one_harmless_line() {
    let said =
        |text: &str| told(&of(&json!({ "action": "reject", "messages": { "smtp_message": text } })).action);
    assert_eq!(said("No\r\n250 Ok\u{e4}"), "550 5.7.1 No 250 Ok??");
    assert_eq!(said(" "), "550 5.7.1 Spam message rejected");
    assert!(said(&"x".repeat(100_000)).len() < 512);
}

#[test]
fn an_action_that_is_only_noted_is_told_in_a_field() {
    let answer = json!({ "action": "reject", "milter": { "no_action": true, "add_headers": { "A": "b" } } });
    let ruling = of(&answer);
    assert_eq!((&ruling.action, fields(&ruling)), (&Action::Pass, "X-Rspamd-Action: reject\r\nA: b\r\n"));
}

#[test]
fn a_mark_is_what_rspamd_is_configured_to_have_for_it() {
    for (spam_header, expected) in [
        (json!(null), "X-Spam: Yes\r\n"),
        (json!({}), "X-Spam: Yes\r\n"),
        (json!("Probably"), "X-Spam: Probably\r\n"),
        (json!(""), "X-Spam: Yes\r\n"),
        (json!(1), "X-Spam: Yes\r\n"),
        (json!({ "X-Junk": 1, "X Y": "no name" }), "X-Spam: Yes\r\n"),
        (json!("x".repeat(2000)), "X-Spam: Yes\r\n"),
        (json!({ "X-Junk": "1", "X-Spam-Flag": "YES" }), "X-Junk: 1\r\nX-Spam-Flag: YES\r\n"),
    ] {
        let answer = json!({ "action": "add header", "milter": { "spam_header": spam_header } });
        assert_eq!(fields(&of(&answer)), expected);
        let passes = json!({ "action": "no action", "milter": { "spam_header": "Yes" } });
        assert_eq!(fields(&of(&passes)), "", "nothing to mark");
    }
}

/// The mark is what a message has the fields for.
#[test]
fn a_mark_has_room_however_many_fields_there_are() {
    let many: Vec<String> = (0..100).map(|number| number.to_string()).collect();
    let long = "x ".repeat(7000);
    for added in [json!({ "A": many }), json!({ "A": [long, long] })] {
        let answer = json!({ "action": "add header", "milter": { "add_headers": added } });
        let ruling = of(&answer);
        assert!(fields(&ruling).starts_with("X-Spam: Yes\r\nA: "));
        let noted = json!({ "action": "reject", "milter": { "add_headers": added, "no_action": true } });
        assert!(fields(&of(&noted)).starts_with("X-Rspamd-Action: reject\r\nA: "));
    }
}

#[test]
fn fields_are_for_a_message_that_goes_on_now_or_the_second_time() {
    let answer = |action: &str| json!({ "action": action, "milter": { "add_headers": { "A": "b" } } });
    for action in ["no action", "greylist"] {
        assert_eq!(fields(&of(&answer(action))), "A: b\r\n", "{action}");
    }
    for action in ["reject", "soft reject", "discard"] {
        assert_eq!(fields(&of(&answer(action))), "", "{action}");
    }
}

#[test]
fn what_is_removed_or_changed_elsewhere_is_not_done_here() {
    let answer = json!({
        "action": "no action", "subject": "***", "dkim-signature": "v=1", "milter": {
            "remove_headers": { "A": 0 }, "change_from": "a@x", "add_rcpt": ["b@y"], "del_rcpt": ["c@z"], "add_headers": [1]
        }
    });
    assert_eq!(of(&answer), Ruling::default());
}

#[test]
fn scores_and_symbols_are_bounded() {
    let score = |score: Value, required: Value| {
        of(&json!({ "action": "no action", "score": score, "required_score": required })).score
    };
    assert_eq!(score(json!(-3.456), json!(15)), "-3.46/15.00");
    assert_eq!(score(json!(1), json!(null)), "1.00");
    assert_eq!(score(json!("1"), json!(15)), "");
    assert_eq!(score(json!(1e300), json!(15)), "");
    let mut symbols = Map::new();
    for number in 0..100 {
        symbols.insert(format!("S{number:02}"), json!({ "score": number - 50 }));
    }
    symbols.insert("x".repeat(SYMBOL_BYTES_MAX + 1), json!({ "score": 1000 }));
    symbols.insert("a b".to_owned(), json!({ "score": 1000 }));
    symbols.insert("\u{e4}".to_owned(), json!({ "score": 1000 }));
    symbols.insert("BARE".to_owned(), json!(7));
    let told = of(&json!({ "action": "no action", "symbols": symbols })).symbols;
    assert_eq!((told.len(), &told[..4]), (SYMBOLS_MAX, &["S00", "S01", "S99", "S02"].map(String::from)[..]));
}

#[test]
fn what_is_no_answer_is_an_error() {
    let error = |body: &str| ruling(body.as_bytes()).expect_err("no ruling");
    assert_eq!(
        error("").to_string(),
        "its answer is no JSON object: EOF while parsing a value at line 1 column 0"
    );
    assert_eq!(error("[]").to_string(), "its answer is no JSON object: it is another value");
    assert!(matches!(error("{\"action\":\"reject\""), Unanswered::NoJson(_)));
    assert!(matches!(error(&"[".repeat(100_000)), Unanswered::NoJson(_)));
    assert_eq!(error("{\"action\":1}"), Unanswered::NoAction);
    assert_eq!(error("{\"error\":\"too\\nlong\"}"), Unanswered::Failed("too long".to_owned()));
    for blank in ["", " "] {
        assert_eq!(error(&json!({ "action": blank }).to_string()), Unanswered::NoAction);
    }
}

#[test]
fn octets_of_a_message_that_are_quoted_do_no_harm() {
    let body = b"{\"action\":\"no action\",\"symbols\":{\"A\":{\"score\":1,\"options\":[\"\xff\xfe\"]}}}";
    assert_eq!(ruling(body).expect("a ruling").symbols, ["A"]);
}
