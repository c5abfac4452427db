//! A panic over what a stranger has sent ends nothing but what it was about.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::pin;
use std::task::Poll;

/// What this comes to; none where it panics.
pub(super) async fn caught<T>(what: impl Future<Output = T>) -> Option<T> {
    let mut what = pin!(what);
    poll_fn(|context| match catch_unwind(AssertUnwindSafe(|| what.as_mut().poll(context))) {
        Ok(Poll::Ready(done)) => Poll::Ready(Some(done)),
        Ok(Poll::Pending) => Poll::Pending,
        Err(_) => Poll::Ready(None),
    })
    .await
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_nothing_and_all_else_is_what_it_is() {
        let runtime = tokio::runtime::Builder::new_current_thread().build().expect("a runtime");
        runtime.block_on(async {
            assert_eq!(caught(async { 7 }).await, Some(7));
            let panics = async {
                tokio::task::yield_now().await;
                panic!("as a test wants it")
            };
            assert_eq!(caught::<()>(panics).await, None);
        });
    }
}
