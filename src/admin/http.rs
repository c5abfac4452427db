//! HTTP/1.1 for the administration: one question a connection, one answer, and bounds for both.

use std::convert::Infallible;
use std::future::{poll_fn, ready};
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::{self, HeaderValue};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode, Version};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::timeout;

use super::routes::{Answer, Routes};
use super::socket::Stream;

/// From the accept to the last octet of the answer.
const CONNECTION_MAX: Duration = Duration::from_secs(5);

/// Octets of the line and the header of a question.
pub(super) const HEAD_BYTES_MAX: usize = 8 * 1024;

/// Fields of the header.
const FIELDS_MAX: usize = 64;

/// After the answer, what the other end still sends is read and dropped for so long. Without that the kernel
/// would send a reset, which can overtake the answer.
const LINGER_MAX: Duration = Duration::from_millis(500);

/// So many octets of it are read at most.
const LINGER_BYTES_MAX: usize = 64 * 1024;

/// Answers the one question of a connection, and closes it.
pub(super) async fn serve(stream: Stream, routes: Arc<Routes>) {
    // Whoever takes longer is cut off: there is nobody to tell.
    let _ = timeout(CONNECTION_MAX, async {
        let service = service_fn(|asked| ready(Ok::<_, Infallible>(answer(&asked, &routes))));
        let mut connection = http1::Builder::new()
            .keep_alive(false)
            .half_close(true)
            .max_buf_size(HEAD_BYTES_MAX)
            .max_header_size(HEAD_BYTES_MAX)
            .max_headers(FIELDS_MAX)
            .timer(TokioTimer::new())
            .header_read_timeout(CONNECTION_MAX)
            .serve_connection(TokioIo::new(stream), service);
        // An error is one of the other end, which was told what it did wrong.
        let _ = poll_fn(|cx| connection.poll_without_shutdown(cx)).await;
        linger(connection.into_parts().io.into_inner()).await;
    })
    .await;
}

fn answer(asked: &Request<Incoming>, routes: &Routes) -> Response<Full<Bytes>> {
    let answer = match refusal(asked, routes) {
        Some((status, why)) => Answer::text(status, why),
        None => routes.answer(asked.uri().path(), asked.uri().query()),
    };
    let Answer { status, content_type, policy, body } = answer;
    let mut reply = Response::new(Full::new(body));
    *reply.status_mut() = status;
    let fields = reply.headers_mut();
    let mut set = |name, value: &'static str| fields.insert(name, HeaderValue::from_static(value));
    set(header::CONTENT_TYPE, content_type);
    // What is told is true now, and of this machine's operator alone.
    set(header::CACHE_CONTROL, "no-store");
    set(header::CONTENT_SECURITY_POLICY, policy);
    set(header::X_CONTENT_TYPE_OPTIONS, "nosniff");
    set(header::X_FRAME_OPTIONS, "DENY");
    set(header::REFERRER_POLICY, "no-referrer");
    set(header::HeaderName::from_static("cross-origin-resource-policy"), "same-origin");
    set(header::HeaderName::from_static("cross-origin-opener-policy"), "same-origin");
    set(header::CONNECTION, "close");
    if status == StatusCode::METHOD_NOT_ALLOWED {
        set(header::ALLOW, "GET, HEAD");
    }
    reply
}

/// Why a question is not answered.
fn refusal(asked: &Request<Incoming>, routes: &Routes) -> Option<(StatusCode, &'static str)> {
    if !matches!(*asked.method(), Method::GET | Method::HEAD) {
        return Some((StatusCode::METHOD_NOT_ALLOWED, "only GET and HEAD: nothing can be changed here\n"));
    }
    let mut hosts = asked.headers().get_all(header::HOST).iter();
    let host = match (hosts.next(), hosts.next()) {
        (Some(host), None) => host.to_str().ok(),
        // HTTP/1.0 has none, and no browser speaks it.
        (None, None) if asked.version() == Version::HTTP_10 => return None,
        (None | Some(_), _) => None,
    };
    let Some(host) = host else {
        return Some((StatusCode::BAD_REQUEST, "one Host field is needed (RFC 9112 section 3.2)\n"));
    };
    // A whole address in the first line counts more than the field (RFC 9112 §3.2.2); neither may lie.
    let named = asked.uri().authority().map(hyper::http::uri::Authority::as_str);
    let is_taken = [Some(host), named].into_iter().flatten().all(|host| routes.access().takes_host(host));
    (!is_taken).then_some((
        StatusCode::MISDIRECTED_REQUEST,
        "this name may be anybody's: ask http://localhost, or the address itself\n",
    ))
}

/// Ends the connection so that the other end gets the whole answer.
async fn linger(mut stream: Stream) {
    if poll_fn(|cx| Pin::new(&mut stream).poll_shutdown(cx)).await.is_err() {
        return;
    }
    let drop_the_rest = async {
        let mut octets = [0; 2048];
        let mut dropped = 0;
        while dropped < LINGER_BYTES_MAX {
            let mut into = ReadBuf::new(&mut octets);
            match poll_fn(|cx| Pin::new(&mut stream).poll_read(cx, &mut into)).await {
                Ok(()) if !into.filled().is_empty() => dropped += into.filled().len(),
                Ok(()) | Err(_) => break,
            }
        }
    };
    let _ = timeout(LINGER_MAX, pin!(drop_the_rest)).await;
}
