//! Work that goes on when nobody waits for it any more.

use std::pin::Pin;
use std::task::{Context, Poll};

use leasehold_core::gather::Work;
use tokio::runtime::Handle;

/// What is to be done to the end: polled by whoever waits, without a task of its own as long as somebody does.
pub(crate) struct Insist<T: Send + 'static> {
    work: Option<Work<T>>,
    runtime: Handle,
}

/// See [`Insist`].
pub(crate) fn insist<T: Send + 'static>(
    runtime: &Handle,
    work: impl Future<Output = T> + Send + 'static,
) -> Work<T> {
    Box::pin(Insist { work: Some(Box::pin(work)), runtime: runtime.clone() })
}

impl<T: Send + 'static> Future for Insist<T> {
    type Output = T;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<T> {
        let work = self.work.as_mut().expect("polled after its answer");
        let polled = work.as_mut().poll(cx);
        if polled.is_ready() {
            self.work = None;
        }
        polled
    }
}

impl<T: Send + 'static> Drop for Insist<T> {
    fn drop(&mut self) {
        if let Some(work) = self.work.take() {
            self.runtime.spawn(work);
        }
    }
}

#[cfg(test)]
mod tests {
    use futures_util::FutureExt;
    use tokio::sync::oneshot;

    use super::*;

    #[tokio::test]
    async fn what_nobody_waits_for_is_done() {
        let ((go, gone), (tell, told)) = (oneshot::channel::<()>(), oneshot::channel::<()>());
        let mut work = insist(&Handle::current(), async move {
            gone.await.unwrap();
            tell.send(()).unwrap();
        });
        assert!((&mut work).now_or_never().is_none(), "it is under way");
        drop(work);
        go.send(()).unwrap();
        told.await.unwrap();
    }
}
