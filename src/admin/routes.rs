//! What is answered under which path.

use std::sync::Arc;

use bytes::Bytes;
use hyper::StatusCode;

use super::access::Access;
use super::exposition::{self, MEDIA_TYPE};
use super::health::{Health, Verdict};
use super::page;
use super::status::source::Source;
use crate::metrics::Registry;

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
    pub(super) registry: Arc<Registry>,
    pub(super) status: Arc<Source>,
    pub(super) health: Arc<Health>,
}

impl Routes {
    /// Who may ask, under which name.
    pub(super) fn access(&self) -> &Access {
        &self.access
    }

    /// The status page.
    fn page(&self) -> Answer {
        let body = page::page(&self.status.status()).into();
        Answer { status: StatusCode::OK, content_type: HTML, policy: page::content_security_policy(), body }
    }

    /// What the page shows, for programs.
    fn status(&self) -> Answer {
        let body = self.status.status().to_json().into();
        Answer { status: StatusCode::OK, content_type: JSON, policy: NOTHING, body }
    }

    fn metrics(&self, per_shard_histograms: bool) -> Answer {
        self.registry.set_ready(self.health.readyz().is_good());
        // What is most often enough.
        let mut text = String::with_capacity(64 * 1024);
        exposition::write(&self.registry.snapshot(), &mut text, per_shard_histograms);
        Answer { status: StatusCode::OK, content_type: MEDIA_TYPE, policy: NOTHING, body: text.into() }
    }

    /// The answer to this path.
    pub(super) fn answer(&self, path: &str, query: Option<&str>) -> Answer {
        match path {
            "/" => self.page(),
            "/status.json" => self.status(),
            "/metrics" => self.metrics(query == Some("shards=1")),
            "/healthz" => Answer::of_health(&self.health.healthz()),
            "/readyz" => Answer::of_health(&self.health.readyz()),
            _ => Answer::text(
                StatusCode::NOT_FOUND,
                "there are /, /status.json, /metrics, /healthz and /readyz\n",
            ),
        }
    }
}
