//! Time, chance, and remarks for the oracles.

use std::future::Future;
use std::time::Duration;

/// Clock and chance.
///
/// # Contract
///
/// * **C1** `now` never goes back.
/// * **C2** `sleep` and `deadline` end no earlier than asked, and possibly much later.
/// * **C3** A `sleep` is work or patience: the process goes on afterwards. A `deadline` limits the wait for something else: a machine
///   in which nothing but deadlines is left to happen is deadlocked, and ends only by time-out.
pub trait Clock: Sync {
    /// Time since a start that is the same for all processes of a scenario; on the real world, since the process started.
    fn now(&self) -> Duration;
    /// Waits that long.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()> + Send;
    /// Ends at `now() + duration`; for racing it against something else, see [`timeout`](super::timeout).
    fn deadline(&self, duration: Duration) -> impl Future<Output = ()> + Send;
    /// A number below `n`, by chance; an exploration tries all. `n` must not be zero.
    fn choose(&self, n: u32) -> impl Future<Output = u32> + Send;
}

/// Remarks that let an oracle see what no system call shows: that a build of a key began, that a region was entered.
///
/// # Contract
///
/// * **N1** A region is left when its guard is dropped, or when its process dies.
/// * **N2** Remarks change nothing: they are no scheduling points, and cost next to nothing where nobody listens.
pub trait Notes: Sync {
    /// Leaves the region on drop.
    type Region: Send + Sync + 'static;
    /// Enters a region: `kind` is a word such as `"build"`, `subject` what it is about, such as a key. Others can be seen in it only while
    /// some operation goes on in it, and be it a yield.
    fn region(&self, kind: &'static str, subject: &str) -> Self::Region;
    /// A remark on something that happened in this instant, such as `("reused", key)`.
    fn note(&self, kind: &'static str, subject: &str);
}
