//! Reads a stream of NATS JetStream. Written from `docs/cluster.md` and the documents of NATS, sharing no
//! code with the receiver, nor a client library with it.

mod client;
mod decoder;
mod headers;
mod object;
mod stream;
mod url;

use std::collections::HashMap;
use std::fmt;

use serde_json::Value;

use super::findings::{self, Findings};
use client::Client;
use object::Missing;
use stream::Stored;

/// The header with the queue id, by which the stream finds duplicates.
const MESSAGE_ID: &str = "Nats-Msg-Id";
/// The header with the envelope.
const ENVELOPE: &str = "Ringmx-Envelope";
/// The header that names the object of a large message: bucket, `/`, name.
const OBJECT: &str = "Ringmx-Object";

/// Hands every message to the findings. What is wrong with the stream itself becomes a remark.
pub fn read(url: &str, name: &str, findings: &mut Findings) -> Result<(), String> {
    let mut client = Client::connect(url)?;
    let mut ids: HashMap<Vec<u8>, u64> = HashMap::new();
    let mut large = Vec::new();
    let failed = |why: String| format!("reading the stream {name}: {why}");
    stream::read(&mut client, name, |stored| {
        let facts = Facts::of(&stored);
        if let Ok(Facts { id, .. }) = &facts
            && let Some(first) = ids.insert(id.clone(), stored.sequence)
        {
            let id = id.escape_ascii();
            findings.remark(format!("the {MESSAGE_ID} {id} is at {first} and at {}", stored.sequence));
        }
        match facts {
            // Its object is asked for when no other question is open.
            Ok(Facts { object: Some(object), .. }) => large.push((object, stored)),
            facts => take(name, &stored, facts, findings),
        }
        Ok(())
    })
    .map_err(failed)?;
    for ((bucket, object), mut stored) in large {
        let mut facts = Facts::of(&stored);
        match object::read(&mut client, &bucket, &object) {
            _ if !stored.payload.is_empty() => facts = Err("it has a payload and an object".into()),
            Ok(content) => stored.payload = content,
            Err(Missing::Wrong(why)) => {
                // Without it there is no id of ours by which the message could be named.
                findings.remark(format!("{}: {why}", Place { name, stored: &stored }));
                facts = Err(why);
            }
            Err(Missing::Unanswered(why)) => return Err(failed(why)),
        }
        take(name, &stored, facts, findings);
    }
    Ok(())
}

fn take(name: &str, stored: &Stored, facts: Result<Facts, String>, findings: &mut Findings) {
    let content = &stored.payload;
    let (recipients, mail_data_bytes, complaint) = match facts {
        Ok(facts) => (facts.recipients, Some(facts.mail_data_bytes), None),
        Err(why) => (vec![None], None, Some(why)),
    };
    findings.take(findings::Stored {
        place: &Place { name, stored },
        content,
        lf_allowed: false,
        recipients,
        // Beyond the end where the envelope claims more than there is.
        mail_data_at: mail_data_bytes.map(|bytes| content.len().checked_sub(bytes).unwrap_or(usize::MAX)),
        complaint,
    });
}

/// What the headers of a message tell.
#[derive(Debug, PartialEq, Eq)]
struct Facts {
    id: Vec<u8>,
    recipients: Vec<Option<Vec<u8>>>,
    mail_data_bytes: usize,
    /// Bucket and name.
    object: Option<(String, String)>,
}

impl Facts {
    fn of(stored: &Stored) -> Result<Self, String> {
        let headers = stored.headers()?;
        let id = headers.one(MESSAGE_ID)?.ok_or_else(|| format!("it has no {MESSAGE_ID}"))?;
        let envelope = headers.one(ENVELOPE)?.ok_or_else(|| format!("it has no {ENVELOPE}"))?;
        let envelope: Value =
            serde_json::from_slice(envelope).map_err(|error| format!("its envelope is no JSON: {error}"))?;
        if envelope["id"].as_str().map(str::as_bytes) != Some(id) {
            return Err(format!("its {MESSAGE_ID} is not the id of its envelope"));
        }
        let recipients: Option<Vec<_>> = envelope["recipients"]
            .as_array()
            .filter(|recipients| !recipients.is_empty())
            .and_then(|all| all.iter().map(|one| Some(Some(one.as_str()?.as_bytes().to_vec()))).collect());
        let size = envelope["size"].as_u64().and_then(|size| usize::try_from(size).ok());
        let object = headers.one(OBJECT)?.map(|object| {
            let parts = str::from_utf8(object).ok().and_then(|object| object.split_once('/'));
            let parts = parts.map(|(bucket, name)| (bucket.to_owned(), name.to_owned()));
            parts.ok_or_else(|| format!("its {OBJECT} is not BUCKET/NAME"))
        });
        Ok(Self {
            id: id.to_vec(),
            recipients: recipients.ok_or("its envelope has no recipients")?,
            mail_data_bytes: size.ok_or("its envelope does not tell the size of its mail data")?,
            object: object.transpose()?,
        })
    }
}

struct Place<'a> {
    name: &'a str,
    stored: &'a Stored,
}

impl fmt::Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} at {} ({})", self.name, self.stored.sequence, self.stored.subject)
    }
}

#[cfg(test)]
mod tests;
