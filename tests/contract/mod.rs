//! The contract of the World, clause by clause.
//!
//! Each numbered clause of the traits in `flockstep::world` is *one* body here, generic over the World, and made of World operations
//! only: no `std`, no thread, no clock of its own. Whatever claims to be a World runs all of them, by [`clauses`]; a second copy of a
//! body for another world would drift from the first. Sleeps in a body are patience, never order: no body depends on how long one is.

pub(crate) mod children;
pub(crate) mod files;
pub(crate) mod locks;
pub(crate) mod programs;
pub(crate) mod sync;
pub(crate) mod tasks;
pub(crate) mod time;

use flockstep::world::{OpenOptions, World, write_all};
use std::time::Duration;

/// The process that a body runs in.
#[derive(Clone, Copy)]
pub(crate) struct Limits {
    pub(crate) workers: usize,
    pub(crate) blocking_threads: usize,
    /// RLIMIT_NOFILE; the machine's if absent.
    pub(crate) nofile: Option<u64>,
}

impl Limits {
    pub(crate) const USUAL: Limits = Limits { workers: 2, blocking_threads: 2, nofile: None };
}

/// Calls a macro with the list of all clauses, each with the limits that it needs.
macro_rules! clauses {
    ($check:ident) => {
        $check! {
            files::f1_lowest_descriptor_and_emfile_first { nofile: Some(64), };
            files::f2_duplicates_share_the_description { };
            files::f3_exclusive_creation_has_one_winner { };
            files::f4_rename_replaces_in_one_step { };
            files::f5_an_open_file_outlives_its_name { };
            files::f6_dropping_closes { };
            files::f7_the_end_of_a_process_closes_all { };
            files::f8_pipes_wait_and_end { };
            files::names_directories_and_links { };
            locks::l1_the_description_owns_and_the_inode_is_locked { };
            locks::l2_unlock_or_last_close_ends_it { };
            locks::l3_a_refused_conversion_has_lost_the_lock { };
            locks::l4_asking_again_is_not_counted { };
            locks::l5_newcomers_pass_those_who_wait { };
            locks::l6_unlock_without_a_lock { };
            locks::l7_a_wait_is_neither_detected_nor_cancelled { };
            locks::l8_locks_exclude_or_fail { };
            tasks::t1_a_synchronous_operation_keeps_the_worker { workers: 1, };
            tasks::t2_the_pool_is_one_queue { blocking_threads: 1, };
            tasks::t3_a_dropped_section_goes_on { };
            tasks::t4_a_process_ends_with_its_first_task { };
            tasks::t5_an_aborted_task_releases_and_withdraws { };
            sync::s1_nobody_overtakes_who_asks_for_many { };
            sync::s2_a_release_goes_to_the_first_waiter { };
            sync::s3_a_dropped_waiter_leaves_nothing { };
            sync::s4_notifications_wake_in_line_and_are_remembered_once { };
            sync::s5_a_thread_mutex_blocks_its_thread { };
            time::c1_now_never_goes_back { };
            time::c2_waiting_ends_no_earlier { };
            time::c3_a_deadline_limits_another_wait { };
            time::n1_a_region_is_left_on_drop { };
            time::n2_remarks_change_nothing { };
            children::p1_exec_leaves_what_is_inherited { };
            children::p2_spawn_reports_the_exec { };
            children::p3_a_child_costs_descriptors { };
            children::p4_wait_returns_when_all_is_closed { };
            children::p5_a_dropped_child_is_killed { };
            children::p6_a_child_outlives_its_parent { };
        }
    };
}
pub(crate) use clauses;

/// A file with that content.
async fn put<W: World>(world: &W, path: &str, content: &[u8]) {
    let file = world.open(path, OpenOptions::replace()).await.unwrap();
    write_all(world, &file, content).await.unwrap();
    world.close(file).await.unwrap();
}

/// A lock file, opened.
async fn lock_file<W: World>(world: &W, path: &str) -> W::File {
    world.open(path, OpenOptions::lock_file()).await.unwrap()
}

/// All there is to read until the end.
async fn drain<W: World>(world: &W, file: &W::File) -> Vec<u8> {
    let mut all = Vec::new();
    loop {
        let bytes = world.read(file, 4096).await.unwrap();
        if bytes.is_empty() {
            return all;
        }
        all.extend(bytes);
    }
}

/// Gives others time to do what they should not.
async fn patience<W: World>(world: &W) {
    world.sleep(Duration::from_millis(10)).await;
}
