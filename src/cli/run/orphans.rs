//! What an interrupted run has started, and must not leave behind.
//!
//! A build hook starts compilers, pip, other hooks. Killing the hook does not end them: they become orphans, and go on to write into
//! a source tree whose lock is about to be free. On Linux a process can ask to be given the orphans of its descendants; then all of them
//! can be killed and waited for, whatever groups and sessions they have put themselves into.
//!
//! Here and not in the World: a protocol never needs it. It ends what an interrupt makes ownerless, after the world has ended.

use rustix::io::Errno;
use rustix::process::{Pid, Signal, WaitOptions, getpid, kill_process, wait};

/// Orphans of our descendants become our children from now on, where the system can do that.
pub(super) fn adopt() {
    #[cfg(target_os = "linux")]
    rustix::process::set_child_subreaper(Some(getpid())).ok();
}

/// Kills all children, with the orphans that this makes, and waits for them.
pub(super) fn end_all() {
    loop {
        for child in children() {
            kill_process(child, Signal::KILL).ok();
        }
        match wait(WaitOptions::empty()) {
            Err(Errno::INTR) | Ok(_) => {}
            Err(_) => return,
        }
    }
}

/// The children that /proc knows of.
#[expect(clippy::disallowed_methods, reason = "the world has ended; this is about the process itself")]
fn children() -> Vec<Pid> {
    let own = getpid().as_raw_nonzero().get();
    let parent_of = |pid: i32| -> Option<i32> {
        // The name in parentheses may contain anything; state and parent follow the last one.
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
        stat.rsplit_once(')')?.1.split_whitespace().nth(1)?.parse().ok()
    };
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse::<i32>().ok());
    numbers.filter(|pid| parent_of(*pid) == Some(own)).filter_map(Pid::from_raw).collect()
}
