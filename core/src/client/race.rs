//! A call against the clock.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use crate::clock::{Clock, Moment};

/// The call's answer, or `None` if `until` comes first. A call that answers at its first poll costs no timer.
pub(crate) async fn race<T>(
    call: &mut (impl Future<Output = T> + Unpin),
    clock: &dyn Clock,
    until: Moment,
) -> Option<T> {
    let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut *call).poll(cx))).await;
    match first {
        Poll::Ready(answer) => Some(answer),
        Poll::Pending if until == Moment::NEVER => Some(call.await),
        Poll::Pending => tokio::select! {
            biased;
            answer = call => Some(answer),
            () = clock.sleep_until(until) => None,
        },
    }
}
