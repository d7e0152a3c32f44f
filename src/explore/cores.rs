//! Where threads come from: an exploration takes more of them if there are any, and comes to the same with one.

/// Threads that have nothing else to do. The library's own has none: whoever calls `explore` may have given the other processors to other
/// tests.
pub trait Cores: Sync {
    /// Runs `mine` on this thread, and meanwhile `others` on as many threads as are free, maybe none, maybe later. Returns when all
    /// of them have ended. What there is to do, they divide among themselves.
    fn share(&self, others: &(dyn Fn() + Sync), mine: &mut dyn FnMut());
}

/// No thread but this one.
#[derive(Clone, Copy, Debug, Default)]
pub struct OneCore;

impl Cores for OneCore {
    fn share(&self, _: &(dyn Fn() + Sync), mine: &mut dyn FnMut()) {
        mine();
    }
}
