//! Waiting for the first of two futures, or for both of two that may fail.

use std::future::{Future, poll_fn};
use std::pin::pin;
use std::task::Poll;

/// Which of two was first.
#[derive(Debug)]
pub(super) enum First<A, B> {
    Left(A),
    Right(B),
}

/// The first of two to be ready. `left` is always asked first: where both are ready it wins, and
/// `right` is not touched at all.
pub(super) async fn first<A: Future, B: Future>(left: A, right: B) -> First<A::Output, B::Output> {
    let (mut left, mut right) = (pin!(left), pin!(right));
    poll_fn(move |context| {
        if let Poll::Ready(value) = left.as_mut().poll(context) {
            return Poll::Ready(First::Left(value));
        }
        right.as_mut().poll(context).map(First::Right)
    })
    .await
}

/// Both of two, or the first error.
pub(super) async fn both<E>(
    one: impl Future<Output = Result<(), E>>,
    other: impl Future<Output = Result<(), E>>,
) -> Result<(), E> {
    let (mut one, mut other) = (pin!(one), pin!(other));
    let mut open = [true; 2];
    poll_fn(move |context| {
        let [one_open, other_open] = &mut open;
        if *one_open && let Poll::Ready(result) = one.as_mut().poll(context) {
            *one_open = false;
            if result.is_err() {
                return Poll::Ready(result);
            }
        }
        if *other_open && let Poll::Ready(result) = other.as_mut().poll(context) {
            *other_open = false;
            if result.is_err() {
                return Poll::Ready(result);
            }
        }
        if *one_open || *other_open { Poll::Pending } else { Poll::Ready(Ok(())) }
    })
    .await
}

/// `future` if `wanted`, else never.
pub(super) async fn only_if<F: Future>(wanted: bool, future: F) -> F::Output {
    if wanted { future.await } else { std::future::pending().await }
}
