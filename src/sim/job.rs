//! What a task is made of: its future, and a place for the value that it comes to.
//!
//! An exploration spawns the same tasks in every execution, and to allocate and free three futures and their values
//! was a twentieth of one. So what a task is made of is kept when it is over, for the next one of its type.

use std::any::{Any, TypeId};
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// See the [module documentation](self).
pub(crate) trait Job: Send {
    /// Polls the future: whether it has ended. Then it is gone, and its value is here.
    fn poll(&mut self, cx: &mut Context<'_>) -> bool;
    /// Drops the future, or the value.
    fn clear(&mut self);
    /// The value, an `Option` of it.
    fn value(&mut self) -> &mut dyn Any;
    /// What it is the job of.
    fn kind(&self) -> TypeId;
    /// The job by its type.
    fn as_any(&mut self) -> &mut dyn Any;
}

struct Of<F: Future> {
    future: Pin<Box<Option<F>>>,
    value: Option<F::Output>,
}

impl<F> Job for Of<F>
where
    F: Future<Output: Send + 'static> + Send + 'static,
{
    fn poll(&mut self, cx: &mut Context<'_>) -> bool {
        let polling = self.future.as_mut().as_pin_mut().expect("a live task has a future");
        let Poll::Ready(value) = polling.poll(cx) else { return false };
        self.future.set(None);
        self.value = Some(value);
        true
    }
    fn clear(&mut self) {
        self.future.set(None);
        self.value = None;
    }
    fn value(&mut self) -> &mut dyn Any {
        &mut self.value
    }
    fn kind(&self) -> TypeId {
        TypeId::of::<F>()
    }
    fn as_any(&mut self) -> &mut dyn Any {
        self
    }
}

/// Jobs that are done and empty, by their kind. There are as many as there were tasks of that kind at once.
#[derive(Default)]
pub(crate) struct Jobs(Vec<(TypeId, Vec<Box<dyn Job>>)>);

impl Jobs {
    /// A job for a future.
    pub(crate) fn take<F>(&mut self, future: F) -> Box<dyn Job>
    where
        F: Future<Output: Send + 'static> + Send + 'static,
    {
        let kept = self.0.iter_mut().find(|(kind, _)| *kind == TypeId::of::<F>());
        if let Some(mut job) = kept.and_then(|(_, kept)| kept.pop()) {
            let of: &mut Of<F> = job.as_any().downcast_mut().expect("kept by its kind");
            of.future.set(Some(future));
            return job;
        }
        Box::new(Of { future: Box::pin(Some(future)), value: None })
    }

    /// Keeps a job that is empty.
    pub(crate) fn keep(&mut self, job: Box<dyn Job>) {
        let kind = job.kind();
        match self.0.iter_mut().find(|(other, _)| *other == kind) {
            Some((_, kept)) => kept.push(job),
            None => self.0.push((kind, vec![job])),
        }
    }
}
