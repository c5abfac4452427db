//! What a milter adds.

use super::*;

#[test]
fn fields_stand_in_front_and_what_is_inserted_on_top() {
    at_end("1", "M: hA|1|\nM: hB|2|\nM: c\n= pass A: 1|B: 2|\n= spent");
    at_end(
        "1",
        "M: hA|1|\nM: i0 B|2|\nM: i1 C|3|\nM: i7 D|4|\nM: hE|5|\nM: a\n= pass D: 4|C: 3|B: 2|A: 1|E: 5|\n= spent",
    );
    at_end("1", "M: hA|1|\nM: r\n= refuse 550 5.7.1 Refused\n= spent");
    at_end("1", "M: hA|1|\nM: d\n= discard\n= spent");
}

#[test]
fn a_message_in_quarantine_is_marked() {
    at_end("21", "M: qvirus_X|\nM: c\n= mark [virus X] X-Quarantine: virus X|\n= spent");
    at_end("20", "M: q\\0|\nM: c\n= mark X-Quarantine: Yes|\n= spent");
    at_end("20", "M: qfirst\nM: qsecond|\nM: a\n= mark [first] X-Quarantine: first|\n= spent");
    at_end(
        "21",
        "M: q a\\r\\n\\tb\\t|\nM: hA|1|\nM: i0 B|2|\nM: c\n= mark [a b] X-Quarantine: a b|B: 2|A: 1|\n= spent",
    );
    let (long, told) = ("x".repeat(300), "x".repeat(200));
    at_end("20", &format!("M: q{long}|\nM: c\n= mark [{told}] X-Quarantine: {told}|\n= spent"));
    at_end("21", "M: qbad|\nM: y550 5.7.1 No|\n= refuse 550 5.7.1 No\n= spent");
}

#[test]
fn a_field_is_one_field_whatever_it_says() {
    for (value, field) in [
        ("1", "A: 1|"),
        ("", "A:|"),
        ("_1", "A:  1|"),
        ("1\\n\\t2", "A: 1|\\t2|"),
        ("1\\r\\n\\t2\\r\\n", "A: 1|\\t2|"),
        ("1\\n2", "A: 1|\\t2|"),
        ("1\\r\\nBcc:_x", "A: 1|\\tBcc: x|"),
        ("1\\r\\n\\r\\nbody", "A: 1|\\tbody|"),
        ("1\\n_\\n\\t\\n2", "A: 1|\\t2|"),
        ("1\\rBcc:_x", "A: 1|\\tBcc: x|"),
        ("\\r\\n\\r\\n", "A:|"),
        ("\\n1", "A:|\\t1|"),
    ] {
        at_end("1", &format!("M: hA|{value}|\nM: c\n= pass {field}\n= spent"));
    }
    // Such a milter says itself what stands after the colon.
    script("T: \nM: O 6 1 10037f\nM: hA|1|\nM: hB|_2|\nM: hC||\nM: c\n= pass A:1|B: 2|C:|\n= spent");
    // Controls, and octets that are no ASCII, as in the fields of any filter.
    at_end("1", "M: hA|g\u{fc}\\t|\nM: c\n= pass A: g??|\n= spent");
    let long = ["x".repeat(500), "y".repeat(500)];
    let [x, y] = &long;
    whole(&format!("T: \nM: O 6 1 {ONLY_END}\nM: hA|{x} {y}|\nM: c\n= pass A: {x}| {y}|\n= spent"));
    let word = "x".repeat(1000);
    whole(&format!(
        "T: \nM: O 6 1 {ONLY_END}\nM: hA|{word}|\n= the milter adds too many header fields, or too long ones"
    ));
}

#[test]
fn a_name_is_a_name() {
    let long = "x".repeat(77);
    for name in ["", "_A", "A_B", "A:", "A\\r\\nB", "\\t", "A\\n", &long, "\u{fc}"] {
        at_end("1", &format!("M: h{name}|1|\n= the milter adds a header field without a good name"));
    }
    at_end("1", &format!("M: h{}|1|\nM: c\n= pass {}: 1|\n= spent", &long[1..], &long[1..]));
}

#[test]
fn data_that_is_no_field_is_a_fault() {
    for said in ["h", "hA", "hA|", "hA|1", "hA|1|2|", "hA|1|x"] {
        at_end("1", &format!("M: {said}\n= the reply 'h' has data that does not fit"));
    }
    for said in ["<raw>0000000169", "<raw>00000003690000", "<raw>000000086900000000410031"] {
        at_end("1", &format!("M: {said}\n= the reply 'i' has data that does not fit"));
    }
}

#[test]
fn no_message_is_changed_otherwise() {
    for (said, what) in [
        ("+<x@y>|", "add a recipient"),
        ("2<x@y>|", "add a recipient"),
        ("-<x@y>|", "take a recipient away"),
        ("bnew", "replace the body"),
        ("e<x@y>|", "change the reverse-path"),
        ("m\\0\\0\\0|A||", "change a header field"),
    ] {
        at_end("21", &format!("M: {said}\n= the milter would {what}, which it may not (end of message)"));
    }
    at_end("20", "M: hA|1|\n= the milter would add a header field, which it may not (end of message)");
    at_end("20", "M: i0 A|1|\n= the milter would add a header field, which it may not (end of message)");
    at_end(
        "1",
        "M: qx|\n= the milter would put the message into quarantine, which it may not (end of message)",
    );
    for (said, what) in [("hA|1|", "add a header field"), ("qx|", "put the message into quarantine")] {
        script(&format!(
            "T: \nM: O 6 21 0\nM: {said}\n= the milter would {what}, which it may not (connection)"
        ));
    }
}

#[test]
fn what_is_added_is_bounded() {
    let fields = |count: usize| "M: hA|1|\n".repeat(count);
    let over = "= the milter adds too many header fields, or too long ones";
    let asked = format!("T: \nM: O 6 21 {ONLY_END}\n");
    whole(&format!("{asked}{}M: c\n= pass {}\n= spent", fields(64), "A: 1|".repeat(64)));
    whole(&format!("{asked}{}{over}", fields(65)));
    // The mark has its place among them, or there is no ruling.
    let marked = "= mark [x] X-Quarantine: x|";
    whole(&format!("{asked}M: qx|\n{}M: c\n{marked}{}\n= spent", fields(63), "A: 1|".repeat(63)));
    whole(&format!("{asked}M: qx|\n{}M: c\n{over}", fields(64)));
    let long = "x".repeat(800);
    let (given, told) = (format!("M: hA|{long}|\n"), format!("A: {long}|"));
    whole(&format!("{asked}{}M: c\n= pass {}\n= spent", given.repeat(20), told.repeat(20)));
    whole(&format!("{asked}{}{over}", given.repeat(21)));
}
