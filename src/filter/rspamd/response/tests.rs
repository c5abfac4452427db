//! Responses in any pieces: good ones, and what is none.

use super::*;

/// Reads a response in pieces of these ends, then the connection is closed.
fn read_in(pieces: &[&[u8]]) -> Result<(Vec<u8>, bool), ResponseError> {
    let mut reader = ResponseReader::default();
    for piece in pieces {
        reader.feed(piece)?;
    }
    let keeps = reader.is_reusable();
    reader.close()?;
    assert!(!reader.is_reusable(), "a connection that is closed");
    Ok((reader.body().to_vec(), keeps))
}

/// Reads it whole, octet by octet, and in two and three pieces at every place, with one result.
#[track_caller]
fn read(octets: &[u8]) -> Result<(Vec<u8>, bool), ResponseError> {
    let whole = read_in(&[octets]);
    let single: Vec<&[u8]> = octets.chunks(1).collect();
    assert_eq!(read_in(&single), whole, "octet by octet");
    for place in 0..=octets.len() {
        let (first, second) = octets.split_at(place);
        assert_eq!(read_in(&[first, second]), whole, "cut at {place}");
        let (middle, last) = second.split_at(second.len() / 2);
        assert_eq!(read_in(&[first, middle, last]), whole, "cut at {place} and later");
    }
    whole
}

fn good(octets: &str, body: &str, keeps: bool) {
    assert_eq!(read(octets.as_bytes()), Ok((body.as_bytes().to_vec(), keeps)), "{octets}");
}

fn bad(octets: &str, error: &ResponseError) {
    assert_eq!(read(octets.as_bytes()), Err(error.clone()), "{octets}");
}

#[test]
fn a_body_ends_where_its_length_says() {
    good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "{}", true);
    good("HTTP/1.1 200 OK\r\ncontent-length: 2\r\nConnection: keep-alive\r\n\r\n{}", "{}", true);
    good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: Close\r\n\r\n{}", "{}", false);
    good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: x, close\r\n\r\n{}", "{}", false);
    good("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "", true);
    good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", "{}", true);
    good("HTTP/1.1 200\r\nContent-Length: 002\r\n\r\n{}", "{}", true);
    good("HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}", "{}", false);
    good("HTTP/1.0 200 OK\r\nContent-Length: 2\r\nConnection: Keep-Alive\r\n\r\n{}", "{}", true);
}

#[test]
fn a_body_in_chunks_is_put_together() {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    good(&format!("{head}1\r\n{{\r\n01;x=y\r\n}}\r\n0\r\n\r\n"), "{}", true);
    good(
        &format!("{head}0a \r\n\r\n\r\n0\r\n\r\n0\r\n0\r\nX: y\r\nZ: 0\r\n\r\n"),
        "\r\n\r\n0\r\n\r\n0",
        true,
    );
    good(&format!("{head}0\r\n\r\n"), "", true);
    for (chunks, why) in [
        ("\r\n", "a chunk has no size"),
        ("-1\r\n", "a chunk has no size"),
        ("0x1\r\n", "a chunk has no size"),
        (";x\r\n", "a chunk has no size"),
        ("1\n{\n", "a line ends without a CR"),
        ("1\r\n{}\r\n", "a chunk is longer than it says"),
        ("1\r\n{\n", "a line ends without a CR"),
    ] {
        bad(&format!("{head}{chunks}"), &ResponseError::Framing(why));
    }
    bad(&format!("{head}100001\r\n"), &ResponseError::BodyTooLong);
    bad(&format!("{head}{}\r\n", "f".repeat(40)), &ResponseError::BodyTooLong);
    let long = ResponseError::Framing("a chunk begins with a line without an end");
    bad(&format!("{head}1;{}", "x".repeat(SIZE_LINE_BYTES_MAX)), &long);
    for cut in ["1", "1\r\n", "1\r\n{", "1\r\n{\r", "1\r\n{\r\n", "0\r\n", "0\r\nX: y\r\n"] {
        bad(&format!("{head}{cut}"), &ResponseError::CutOff);
    }
}

#[test]
fn a_body_without_a_length_ends_with_the_connection() {
    good("HTTP/1.1 200 OK\r\n\r\n{}", "{}", false);
    good("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\n\r\n{}", "{}", false);
}

#[test]
fn what_comes_after_the_end_is_of_no_answer() {
    good("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}HTTP/1.1 200 OK\r\n", "{}", false);
    good("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n{}", "", false);
    good("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n0", "", false);
}

#[test]
fn what_is_said_meanwhile_comes_before_the_answer() {
    let rest = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";
    good(&format!("HTTP/1.1 100 Continue\r\n\r\n{rest}"), "{}", true);
    good(&format!("HTTP/1.1 102 Processing\r\nX: y\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n{rest}"), "{}", true);
    bad("HTTP/1.1 100 Continue\r\n\r\n", &ResponseError::CutOff);
    let without_end = "HTTP/1.1 100 Continue\r\n\r\n".repeat(1000);
    assert_eq!(read_in(&[without_end.as_bytes()]), Err(ResponseError::HeadTooLong));
    assert!(read_in(&without_end.as_bytes().chunks(7).collect::<Vec<_>>()).is_err());
}

#[test]
fn another_status_is_told_with_its_text() {
    for (line, code, reason) in [
        ("HTTP/1.1 403 Wrong password", 403, "Wrong password"),
        ("HTTP/1.1 500", 500, ""),
        ("HTTP/1.1 204 No Content", 204, "No Content"),
        ("HTTP/1.1 101 Switching Protocols", 101, "Switching Protocols"),
        ("HTTP/1.0 301 a\tb", 301, "ab"),
    ] {
        bad(&format!("{line}\r\n\r\n"), &ResponseError::Status(code, reason.to_owned()));
    }
    let long = format!("HTTP/1.1 500 {}\r\n\r\n", "x".repeat(500));
    assert_eq!(read(long.as_bytes()), Err(ResponseError::Status(500, "x".repeat(REASON_BYTES_MAX))));
}

#[test]
fn what_is_no_http_is_refused() {
    bad("", &ResponseError::Nothing);
    bad("\r", &ResponseError::CutOff);
    bad("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n", &ResponseError::CutOff);
    bad("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{", &ResponseError::CutOff);
    bad("220 mx.test ESMTP\r\n", &ResponseError::NoHttp("its first line has no version"));
    bad("HTTP/2 200 OK\r\n", &ResponseError::NoHttp("its first line has no version"));
    bad("HTTP/1.1 abc\r\n", &ResponseError::NoHttp("its first line has no status"));
    bad("HTTP/1.1 200 OK\r\nno field\r\n\r\n", &ResponseError::NoHttp("a line is no field"));
    let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "X: y\r\n".repeat(FIELDS_MAX + 1));
    bad(&many, &ResponseError::NoHttp("it has too many fields"));
}

#[test]
fn odd_framing_is_refused() {
    for (fields, why) in [
        ("Content-Length: 2\r\nContent-Length: 3", "it has two lengths"),
        ("Content-Length: 2, 2", "its length is no number"),
        ("Content-Length: +2", "its length is no number"),
        ("Content-Length: ", "its length is no number"),
        ("Content-Length: 2\r\nTransfer-Encoding: chunked", "it has a length and is in chunks, too"),
        ("Transfer-Encoding: gzip, chunked", "its transfer encoding is another than chunked"),
        (
            "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked",
            "its transfer encoding is another than chunked",
        ),
        ("Content-Length: 2\r\nContent-Encoding: gzip", "its body is compressed, which nobody asked for"),
    ] {
        bad(&format!("HTTP/1.1 200 OK\r\n{fields}\r\n\r\n{{}}"), &ResponseError::Framing(why));
    }
    let old = "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    bad(old, &ResponseError::Framing("HTTP/1.0 has no chunks"));
}

#[test]
fn what_goes_beyond_a_bound_is_refused() {
    for length in [BODY_BYTES_MAX.to_string() + "0", "9".repeat(30)] {
        bad(&format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n"), &ResponseError::BodyTooLong);
    }
    let chunked = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let body = "x".repeat(BODY_BYTES_MAX);
    for (octets, ending) in [
        (format!("HTTP/1.1 200 OK\r\n\r\n{body}"), "x"),
        (format!("{chunked}{BODY_BYTES_MAX:x}\r\n{body}\r\n"), "1\r\nx\r\n0\r\n\r\n"),
    ] {
        let whole = format!("{octets}{ending}");
        for size in [whole.len(), 4096, 1000] {
            let pieces: Vec<&[u8]> = whole.as_bytes().chunks(size).collect();
            assert_eq!(read_in(&pieces), Err(ResponseError::BodyTooLong));
        }
        let rest = if octets.starts_with(chunked) { "0\r\n\r\n" } else { "" };
        let fits = format!("{octets}{rest}");
        assert!(read_in(&fits.as_bytes().chunks(4096).collect::<Vec<_>>()).is_ok());
    }
    let field = format!("X: {}\r\n", "y".repeat(1000));
    for octets in [
        format!("HTTP/1.1 200 OK\r\n{}", field.repeat(20)),
        format!("{chunked}0\r\n{}\r\n", field.repeat(20)),
        format!("{chunked}0\r\nX: {}", "y".repeat(HEAD_BYTES_MAX)),
    ] {
        for size in [octets.len(), 100, 7] {
            let pieces: Vec<&[u8]> = octets.as_bytes().chunks(size).collect();
            assert_eq!(read_in(&pieces), Err(ResponseError::HeadTooLong), "pieces of {size}");
        }
    }
}

#[test]
fn errors_say_what_rspamd_did() {
    let said = |error: ResponseError| error.to_string();
    assert_eq!(said(ResponseError::Nothing), "it closed the connection without an answer");
    assert_eq!(said(ResponseError::HeadTooLong), "the head of its answer has more than 16384 octets");
    assert_eq!(said(ResponseError::Status(403, "No".to_owned())), "it answered with the HTTP status 403 No");
}
