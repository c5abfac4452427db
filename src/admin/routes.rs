//! What is answered under which path.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;

use super::access::Access;
use super::exposition::MEDIA_TYPE;
use super::page;
use super::process::Process;
use super::verdict::Verdict;

/// What a document that is no page may do in a browser: nothing.
const NOTHING: &str = "default-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// An answer.
#[derive(Debug)]
pub(super) struct Answer {
    pub(super) status: StatusCode,
    pub(super) content_type: &'static str,
    /// Its Content-Security-Policy.
    pub(super) policy: &'static str,
    pub(super) body: Bytes,
}

impl Answer {
    /// A few words.
    pub(super) fn text(status: StatusCode, words: &'static str) -> Self {
        Self { status, content_type: TEXT, policy: NOTHING, body: Bytes::from_static(words.as_bytes()) }
    }

    fn of_health(verdict: &Verdict) -> Self {
        let status = if verdict.is_good() { StatusCode::OK } else { StatusCode::SERVICE_UNAVAILABLE };
        match serde_json::to_vec(verdict) {
            Ok(body) => Self { status, content_type: JSON, policy: NOTHING, body: body.into() },
            Err(_) => Self::text(StatusCode::INTERNAL_SERVER_ERROR, "this is a bug of ringmx\n"),
        }
    }
}

/// What answers are made of.
pub(super) struct Routes {
    pub(super) access: Access,
    pub(super) process: Arc<dyn Process>,
}

impl Routes {
    /// Who may ask, under which name.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// The answer to this path.
    pub(super) fn answer(&self, path: &str, query: Option<&str>) -> Answer {
        let of = |content_type, policy, body: String| Answer {
            status: StatusCode::OK,
            content_type,
            policy,
            body: body.into(),
        };
        match path {
            "/" => of(HTML, page::content_security_policy(), self.process.page()),
            "/status.json" => of(JSON, NOTHING, self.process.status()),
            "/metrics" => of(MEDIA_TYPE, NOTHING, self.process.metrics(query)),
            "/healthz" => Answer::of_health(&self.process.healthz()),
            "/readyz" => Answer::of_health(&self.process.readyz()),
            _ => Answer::text(
                StatusCode::NOT_FOUND,
                "there are /, /status.json, /metrics, /healthz and /readyz\n",
            ),
        }
    }
}
