//! What a receiver found of a signed message, in its Authentication-Results (RFC 8601), beside what the
//! message tells in `X-Loadgen-Expect`.

/// The checks that are compared.
const CHECKS: [&str; 3] = ["spf", "dkim", "dmarc"];

/// The field with what is right.
const EXPECTED: &str = "x-loadgen-expect";

/// The field with what was found.
const FOUND: &str = "authentication-results";

/// What is wrong with the results that the receiver of this name wrote above a text that begins `at`; `None`
/// if nothing is. `Err`: the message does not tell what is right.
pub fn misjudged(content: &[u8], at: usize, authserv_id: &str) -> Result<Option<String>, ()> {
    let (above, text) = content.split_at(at);
    let expected = fields(text).into_iter().find(|(name, _)| name == EXPECTED).ok_or(())?.1;
    let ours = |(name, value): (String, String)| {
        let rest =
            (name == FOUND).then(|| value.trim_start().strip_prefix(authserv_id).map(str::to_owned))??;
        rest.starts_with(';').then_some(rest)
    };
    let Some(found) = fields(above).into_iter().find_map(ours) else {
        return Ok(Some(format!("no Authentication-Results of {authserv_id} above it")));
    };
    let found = results(&found);
    let wrong = CHECKS.iter().filter_map(|check| {
        let expected = expected.split_whitespace().find_map(|word| value_of(word, check))?;
        let found = result_of(&found, check).unwrap_or("nothing");
        (found != expected).then(|| format!("{check}={found} instead of {expected}"))
    });
    let wrong: Vec<String> = wrong.collect();
    Ok(if wrong.is_empty() { None } else { Some(wrong.join(", ")) })
}

/// The fields of a header section, unfolded: names in lower case, and values.
fn fields(octets: &[u8]) -> Vec<(String, String)> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in octets.split(|octet| *octet == b'\n') {
        let line = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
        if line.is_empty() {
            break;
        }
        match (line.starts_with([' ', '\t']), line.split_once(':')) {
            (true, _) => fields.last_mut().into_iter().for_each(|(_, value)| value.push_str(&line)),
            (false, Some((name, value))) => {
                fields.push((name.trim_end().to_ascii_lowercase(), value.to_owned()));
            }
            (false, None) => {}
        }
    }
    fields
}

/// What stands between semicolons, as words without comments; quotes hold together.
fn results(value: &str) -> Vec<Vec<String>> {
    let (mut results, mut word) = (vec![Vec::new()], String::new());
    let (mut depth, mut is_quoted, mut is_escaped) = (0_u32, false, false);
    for letter in value.chars().chain([';']) {
        match letter {
            _ if std::mem::take(&mut is_escaped) => word.push(letter),
            '\\' if is_quoted || depth > 0 => is_escaped = true,
            '"' if depth == 0 => is_quoted = !is_quoted,
            '(' if !is_quoted => depth += 1,
            ')' if !is_quoted => depth = depth.saturating_sub(1),
            _ if depth > 0 => {}
            ' ' | '\t' | ';' if !is_quoted => {
                if let Some(words) = results.last_mut().filter(|_| !word.is_empty()) {
                    words.push(std::mem::take(&mut word));
                }
                if letter == ';' {
                    results.push(Vec::new());
                }
            }
            _ => word.push(letter),
        }
    }
    results.retain(|words| !words.is_empty());
    results
}

/// The result of a check. Of SPF that of the reverse-path, if there are several; of DKIM `pass` if one of the
/// signatures passes.
fn result_of<'a>(results: &'a [Vec<String>], check: &str) -> Option<&'a str> {
    let all = || results.iter().filter_map(|words| Some((words, value_of(words.first()?, check)?)));
    let is_chosen = |(words, result): &(&Vec<String>, &str)| match check {
        "spf" => words.iter().any(|word| word.starts_with("smtp.mailfrom=")),
        "dkim" => *result == "pass",
        _ => true,
    };
    all().find(is_chosen).or_else(|| all().next()).map(|(_, result)| result)
}

/// `pass` of `spf=pass`.
fn value_of<'a>(word: &'a str, name: &str) -> Option<&'a str> {
    word.split_once('=').filter(|(method, _)| *method == name).map(|(_, value)| value)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str =
        "X-Loadgen-Id: 1\r\nX-Loadgen-Expect: spf=pass dkim=fail dmarc=pass policy=reject (..)\r\n\r\n";

    fn found(above: &str) -> Option<String> {
        misjudged(format!("{above}{TEXT}").as_bytes(), above.len(), "mx.test")
            .expect("it tells what is right")
    }

    #[test]
    fn results_are_those_that_the_message_tells() {
        for right in [
            "Authentication-Results: mx.test; spf=pass smtp.mailfrom=a@x.test; dkim=fail; dmarc=pass\r\n",
            "Authentication-Results: mx.test;\r\n\tspf=none smtp.helo=x;\r\n\tspf=pass (why; not) smtp.mailfrom=\"a;b\"@x;\r\n\
             \tdkim=fail (2048-bit key) header.d=x.test;\r\n\tdmarc=pass header.from=x.test\r\nReceived: x\r\n",
            "Return-Path: <a@x.test>\nAuthentication-Results: mx.test; dmarc=pass; dkim=fail; spf=pass\n",
        ] {
            assert_eq!(found(right), None, "{right}");
        }
        for (wrong, words) in [
            ("", "no Authentication-Results of mx.test"),
            (
                "Authentication-Results: mx.test.evil; spf=pass; dkim=fail; dmarc=pass\r\n",
                "no Authentication-Results",
            ),
            ("Authentication-Results: mx.test; none\r\n", "spf=nothing instead of pass, dkim=nothing"),
            (
                "Authentication-Results: mx.test; spf=pass; dkim=fail; dkim=pass; dmarc=pass\r\n",
                "dkim=pass instead of fail",
            ),
            (
                "Authentication-Results: mx.test; spf=pass; dkim=fail; dmarc=\"fa\\il\"\r\n",
                "dmarc=fail instead of pass",
            ),
        ] {
            assert!(found(wrong).is_some_and(|told| told.contains(words)), "{wrong}: {:?}", found(wrong));
        }
        // What stands in the message itself is its sender's.
        let inside = format!("Subject: x\r\n{TEXT}");
        assert!(misjudged(inside.as_bytes(), 0, "mx.test").expect("told").is_some());
        assert_eq!(misjudged(b"Subject: x\r\n\r\nX-Loadgen-Expect: spf=pass", 0, "mx.test"), Err(()));
    }
}
