//! A call against the clock.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::Poll;

use crate::clock::{Clock, Moment, Sleep};

/// The call's answer, or `None` if `until` comes first. A call that answers at its first poll costs no timer.
pub(crate) fn race<T>(
    call: &mut (impl Future<Output = T> + Unpin),
    clock: &dyn Clock,
    until: Moment,
) -> impl Future<Output = Option<T>> {
    let mut timer: Option<Sleep> = None;
    poll_fn(move |cx| match Pin::new(&mut *call).poll(cx) {
        Poll::Ready(answer) => Poll::Ready(Some(answer)),
        Poll::Pending if until == Moment::NEVER => Poll::Pending,
        Poll::Pending => {
            timer.get_or_insert_with(|| clock.sleep_until(until)).as_mut().poll(cx).map(|()| None)
        }
    })
}
