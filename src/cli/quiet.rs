//! A task of a scenario that panics is a violation, told with its schedule; the message that Rust prints at once, for each of some
//! thousand executions, is noise.

use std::cell::Cell;
use std::panic::{set_hook, take_hook};
use std::sync::Once;

thread_local! {
    static QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs `explore` without messages about panics in this thread.
pub(super) fn quietly<T>(explore: impl FnOnce() -> T) -> T {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = take_hook();
        set_hook(Box::new(move |panic| {
            if !QUIET.get() {
                loud(panic);
            }
        }));
    });
    let before = QUIET.replace(true);
    let result = explore();
    QUIET.set(before);
    result
}
