//! The stream: whether it keeps what it acknowledges, and how it is made.

use std::time::Duration;

use serde_json::{Value, json};

use super::answer::error_of;
use super::link::Link;
use super::object::bucket;
use crate::config;

/// A question has so long.
const ASK_WAIT_MAX: Duration = Duration::from_secs(2);

/// A copy of what was published lately is known as one for so long, of a stream that is made here.
const DUPLICATES_FOR: Duration = Duration::from_mins(2);

/// A stream with less may have twice what was published again.
const DUPLICATES_FOR_MIN: Duration = Duration::from_mins(1);

/// Octets of a message of the stream, at most, where it names no bound (`max_payload` then is one).
const UNBOUNDED: i64 = -1;

/// What was found of a stream that is as it has to be.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StreamFacts {
    /// Servers that have each message.
    pub replicas: u64,
    /// Those of them that follow now, with the leader.
    pub present: u64,
    /// Octets that one of its messages may have; none where only the servers bound that.
    pub message_bytes_max: Option<u64>,
    /// Whether the object store for large messages is there.
    pub has_bucket: bool,
    /// What the operator should know.
    pub warnings: Vec<String>,
}

/// Why nothing can be published.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookError {
    /// The stream does not keep what it acknowledges, or is not there: somebody has to change that.
    Unfit(String),
    /// Nobody says anything of it now.
    Away(String),
}

/// Reads the stream and the object store beside it, and makes what is missing where that is wanted.
///
/// # Errors
/// Why nothing can be published.
pub async fn look(link: &Link, cluster: &config::Nats) -> Result<StreamFacts, LookError> {
    let info = found_or_made(link, &cluster.stream, || stream_config(cluster), cluster.creates).await?;
    let Some(info) = info else {
        return Err(LookError::Unfit(format!(
            "there is no stream {}; make one with {} replicas for the subjects {}.*, or write create = true",
            cluster.stream, cluster.replicas_min, cluster.subject
        )));
    };
    let mut facts = judge(&info, cluster).map_err(LookError::Unfit)?;
    if let Some(why) = no_quorum(&info) {
        return Err(LookError::Away(why));
    }
    let bucket = bucket(&cluster.stream);
    let made = || bucket_config(cluster, &info);
    match found_or_made(link, &format!("OBJ_{bucket}"), made, cluster.creates).await? {
        Some(info) => {
            durable(&info, cluster.replicas_min).map_err(LookError::Unfit)?;
            facts.has_bucket = true;
        }
        None => facts.warnings.push(format!(
            "there is no object store {bucket}, so messages that are larger than one of the stream may be are put off; make one with \
             {} replicas, or write create = true",
            cluster.replicas_min
        )),
    }
    Ok(facts)
}

async fn found_or_made(
    link: &Link,
    name: &str,
    config: impl FnOnce() -> Value,
    creates: bool,
) -> Result<Option<Value>, LookError> {
    /// No such stream (`err_code`).
    const NOT_FOUND: u64 = 10059;
    /// What only whoever runs the cluster, or has configured us, can change.
    const UNFIT: [u64; 7] = [10027, 10035, 10039, 10052, 10065, 10074, 10076];
    let info = link.ask(&format!("STREAM.INFO.{name}"), None, ASK_WAIT_MAX).await.map_err(LookError::Away)?;
    let answer = match error_of(&info) {
        None => return Ok(Some(info)),
        Some((NOT_FOUND, _)) if creates => {
            let config = config();
            let made = link.ask(&format!("STREAM.CREATE.{name}"), Some(&config), 2 * ASK_WAIT_MAX).await;
            made.map_err(LookError::Away)?
        }
        Some((NOT_FOUND, _)) => return Ok(None),
        Some(_) => info,
    };
    match error_of(&answer) {
        None => Ok(Some(answer)),
        Some((code, text)) if UNFIT.contains(&code) => {
            Err(LookError::Unfit(format!("the cluster says of {name}: {text}")))
        }
        Some((_, text)) => Err(LookError::Away(format!("the cluster says of {name}: {text}"))),
    }
}

fn stream_config(cluster: &config::Nats) -> Value {
    let bytes_max = cluster.bytes_max.and_then(|bytes| i64::try_from(bytes).ok());
    json!({
        "name": cluster.stream,
        "subjects": [format!("{}.*", cluster.subject)],
        "retention": "limits",
        "storage": "file",
        "num_replicas": cluster.replicas_min,
        "discard": "new",
        "duplicate_window": u64::try_from(DUPLICATES_FOR.as_nanos()).unwrap_or(u64::MAX),
        "max_bytes": bytes_max.unwrap_or(UNBOUNDED),
        "max_msgs": UNBOUNDED,
        "max_consumers": UNBOUNDED,
        "max_msg_size": UNBOUNDED,
        "allow_direct": true,
    })
}

/// An object store as every client library knows it (ADR-20). What the stream forgets by age is forgotten
/// here, too; else whoever reads a message deletes its object.
fn bucket_config(cluster: &config::Nats, stream: &Value) -> Value {
    let bucket = bucket(&cluster.stream);
    json!({
        "name": format!("OBJ_{bucket}"),
        "subjects": [format!("$O.{bucket}.C.>"), format!("$O.{bucket}.M.>")],
        "retention": "limits",
        "storage": "file",
        "num_replicas": cluster.replicas_min,
        "discard": "new",
        "max_age": member(stream, "max_age").and_then(Value::as_u64).unwrap_or(0),
        "max_bytes": UNBOUNDED,
        "max_msgs": UNBOUNDED,
        "max_consumers": UNBOUNDED,
        "max_msg_size": UNBOUNDED,
        "allow_rollup_hdrs": true,
        "allow_direct": true,
    })
}

/// A member of a stream's configuration.
fn member<'a>(info: &'a Value, name: &str) -> Option<&'a Value> {
    info.get("config")?.get(name)
}

fn text<'a>(info: &'a Value, name: &str) -> &'a str {
    member(info, name).and_then(Value::as_str).unwrap_or_default()
}

fn is_set(info: &Value, name: &str) -> bool {
    member(info, name).and_then(Value::as_bool).unwrap_or(false)
}

/// A bound; none where there is none.
fn bound(info: &Value, name: &str) -> Option<u64> {
    member(info, name)
        .and_then(Value::as_i64)
        .and_then(|bound| u64::try_from(bound).ok())
        .filter(|bound| *bound > 0)
}

/// Whether as many servers have what it acknowledges as there have to be, each on its disk.
fn durable(info: &Value, replicas_min: usize) -> Result<u64, String> {
    let name = text(info, "name");
    let replicas = bound(info, "num_replicas").unwrap_or(1);
    let min = u64::try_from(replicas_min).unwrap_or(u64::MAX);
    if replicas < min {
        return Err(format!(
            "the stream {name} has {replicas} of {min} replicas (`replicas_min`); give it more: nats stream edit {name} --replicas {min}"
        ));
    }
    if text(info, "storage") != "file" {
        return Err(format!("the stream {name} is in memory; make it anew with file storage"));
    }
    if text(info, "persist_mode") == "async" {
        return Err(format!(
            "the stream {name} acknowledges before it writes (persist_mode async); make it anew without that"
        ));
    }
    if is_set(info, "sealed") {
        return Err(format!("the stream {name} is sealed and takes nothing"));
    }
    Ok(replicas)
}

/// Whether the stream keeps what it acknowledges, and what is odd about it.
fn judge(info: &Value, cluster: &config::Nats) -> Result<StreamFacts, String> {
    let name = &cluster.stream;
    let replicas = durable(info, cluster.replicas_min)?;
    if is_set(info, "no_ack") {
        return Err(format!("the stream {name} acknowledges nothing (no_ack); edit that"));
    }
    if text(info, "retention") == "interest" {
        return Err(format!(
            "the stream {name} drops what nobody consumes at the moment (retention interest); make it anew with limits or workqueue"
        ));
    }
    if member(info, "mirror").is_some_and(|mirror| !mirror.is_null()) {
        return Err(format!("the stream {name} is a mirror and takes nothing; name the one that it mirrors"));
    }
    let subjects = member(info, "subjects").and_then(Value::as_array);
    let subjects: Vec<_> = subjects.into_iter().flatten().filter_map(Value::as_str).collect();
    for partition in 0..cluster.partitions {
        let subject = format!("{}.{partition}", cluster.subject);
        if !subjects.iter().any(|pattern| takes(pattern, &subject)) {
            return Err(format!(
                "the stream {name} does not take the subject {subject}; add {}.* to its subjects",
                cluster.subject
            ));
        }
    }
    Ok(StreamFacts {
        replicas,
        present: present(info).map_or(1, |(present, _)| present),
        message_bytes_max: bound(info, "max_msg_size"),
        has_bucket: false,
        warnings: warnings(info, name),
    })
}

fn warnings(info: &Value, name: &str) -> Vec<String> {
    let mut found = Vec::new();
    let bounds = ["max_bytes", "max_msgs", "max_msgs_per_subject"];
    if text(info, "discard") != "new"
        && let Some(bound) = bounds.into_iter().find(|name| bound(info, name).is_some())
    {
        found.push(format!(
            "the stream {name} drops its oldest mail, read or not, when {bound} is reached; edit it: nats stream edit {name} --discard new"
        ));
    }
    let window = bound(info, "duplicate_window").map_or(Duration::ZERO, Duration::from_nanos);
    if window < DUPLICATES_FOR_MIN {
        found.push(format!(
            "the stream {name} knows copies for {} s only, so what is published again may be there twice; give it a duplicate window of \
             2 minutes",
            window.as_secs()
        ));
    }
    found
}

/// Servers of the stream that are there with its leader, and all of them; none where it is no cluster.
fn present(info: &Value) -> Option<(u64, u64)> {
    let cluster = info.get("cluster").filter(|cluster| !cluster.is_null())?;
    let others = cluster.get("replicas").and_then(Value::as_array).map_or(&[][..], Vec::as_slice);
    let is_there = |other: &&Value| !other.get("offline").and_then(Value::as_bool).unwrap_or(false);
    let count = |count: usize| u64::try_from(count).unwrap_or(u64::MAX);
    Some((1 + count(others.iter().filter(is_there).count()), 1 + count(others.len())))
}

/// Why nothing can be acknowledged now, as far as the servers know that.
fn no_quorum(info: &Value) -> Option<String> {
    let cluster = info.get("cluster").filter(|cluster| !cluster.is_null())?;
    if cluster.get("leader").and_then(Value::as_str).is_none_or(str::is_empty) {
        return Some("the stream has no leader now".to_owned());
    }
    let (present, all) = present(info)?;
    (2 * present <= all)
        .then(|| format!("{present} of {all} servers of the stream are there, which is no quorum"))
}

/// Whether a pattern of subjects takes this subject.
fn takes(pattern: &str, subject: &str) -> bool {
    let mut tokens = subject.split('.');
    for part in pattern.split('.') {
        match (part, tokens.next()) {
            (">", Some(_)) => return true,
            ("*", Some(_)) => {}
            (part, Some(token)) if part == token => {}
            (_, Some(_) | None) => return false,
        }
    }
    tokens.next().is_none()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn cluster() -> config::Nats {
        config::Nats {
            servers: Vec::new(),
            stream: "MAIL".to_owned(),
            replicas_min: 3,
            creates: true,
            bytes_max: Some(1 << 30),
            subject: "mail.default".to_owned(),
            partitions: 4,
            credentials: None,
            tls_ca: None,
            tls_certificate: None,
            monitor: Vec::new(),
            window: 1,
            has_fallback: false,
        }
    }

    fn made(change: &[(&str, Value)]) -> Value {
        let mut config = stream_config(&cluster());
        for (name, value) in change {
            config[name] = value.clone();
        }
        json!({ "config": config })
    }

    #[test]
    fn a_stream_that_is_made_here_is_fit_and_has_nothing_odd() {
        let facts = judge(&made(&[]), &cluster()).expect("fit");
        assert_eq!((facts.replicas, facts.message_bytes_max), (3, None));
        assert_eq!(facts.warnings, [""; 0]);
        assert_eq!(durable(&json!({ "config": bucket_config(&cluster(), &made(&[])) }), 3), Ok(3));
    }

    #[test]
    fn a_stream_that_does_not_keep_what_it_acknowledges_is_not_fit() {
        for (change, why) in [
            (("num_replicas", json!(1)), "1 of 3 replicas"),
            (("storage", json!("memory")), "in memory"),
            (("persist_mode", json!("async")), "persist_mode"),
            (("sealed", json!(true)), "sealed"),
            (("no_ack", json!(true)), "no_ack"),
            (("retention", json!("interest")), "interest"),
            (("mirror", json!({ "name": "x" })), "mirror"),
            (("subjects", json!(["mail.default.0"])), "mail.default.1"),
            (("subjects", json!([])), "mail.default.0"),
        ] {
            let found = judge(&made(&[change]), &cluster()).expect_err(why);
            assert!(found.contains(why), "{found}");
        }
        for odd in [json!({}), json!([]), json!(null), json!({ "config": 7 })] {
            assert!(judge(&odd, &cluster()).is_err(), "{odd}");
        }
    }

    #[test]
    fn what_may_lose_mail_later_is_told() {
        for (change, why) in [
            (("discard", json!("old")), "oldest mail"),
            (("duplicate_window", json!(1_000_000_000)), "1 s only"),
            (("duplicate_window", json!(0)), "0 s only"),
        ] {
            let facts = judge(&made(&[change]), &cluster()).expect("fit");
            assert!(facts.warnings.len() == 1 && facts.warnings[0].contains(why), "{:?}", facts.warnings);
        }
        let unbounded = [("discard", json!("old")), ("max_bytes", json!(-1))];
        assert_eq!(judge(&made(&unbounded), &cluster()).expect("fit").warnings, [""; 0]);
    }

    #[test]
    fn a_quorum_is_more_than_half_of_the_servers_and_needs_a_leader() {
        let with = |leader: &str, offline: &[bool]| {
            let replicas: Vec<_> =
                offline.iter().map(|offline| json!({ "name": "n", "offline": offline })).collect();
            json!({ "cluster": { "leader": leader, "replicas": replicas } })
        };
        assert_eq!(no_quorum(&json!({})), None, "one server alone");
        assert_eq!(no_quorum(&with("a", &[false, false])), None);
        assert_eq!(no_quorum(&with("a", &[true, false])), None);
        assert!(no_quorum(&with("a", &[true, true])).is_some_and(|why| why.starts_with("1 of 3")));
        assert!(no_quorum(&with("", &[false, false])).is_some_and(|why| why.contains("no leader")));
        assert!(no_quorum(&json!({ "cluster": {} })).is_some());
        assert_eq!(present(&with("a", &[true, false])), Some((2, 3)));
    }

    #[test]
    fn patterns_take_subjects_as_the_servers_match_them() {
        for (pattern, subject, is_taken) in [
            ("mail.default.*", "mail.default.0", true),
            ("mail.>", "mail.default.0", true),
            (">", "mail.default.0", true),
            ("*.*.*", "mail.default.0", true),
            ("mail.default.0", "mail.default.0", true),
            ("mail.default", "mail.default.0", false),
            ("mail.default.0.>", "mail.default.0", false),
            ("mail.*", "mail.default.0", false),
            ("mail.other.*", "mail.default.0", false),
            ("", "mail.default.0", false),
        ] {
            assert_eq!(takes(pattern, subject), is_taken, "{pattern} {subject}");
        }
    }
}
