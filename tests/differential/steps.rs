//! Random steps: calls with arguments from small sets, so that processes meet.

use flockstep::conform::call::{Call, Fd, OpenFlag, RangeKind, RangeType, RenameFlag, Whence};
use proptest::prelude::*;

/// A step; the process is the how many'th of those that could make it, unless it is meant exactly.
#[derive(Clone, Debug)]
pub(super) struct Step {
    pub(super) process: usize,
    /// The process is meant by its number; a process that cannot make the step does not.
    pub(super) exact: bool,
    /// Descriptors are the how many'th of those that are open, rather than numbers that may mean nothing.
    pub(super) open: bool,
    pub(super) what: What,
}

#[derive(Clone, Debug)]
pub(super) enum What {
    Call(Call),
    Fork,
    Exec,
    /// Of a file, which is no program.
    Execute(String),
    Exit,
    Kill,
    Signal,
}

fn path() -> impl Strategy<Value = String> {
    const USUAL: [&str; 17] =
        ["a", "a", "a", "b", "b", "d", "d/a", "d/b", "s", "s/", "d/", "a/", "e", "d/e", ".", "d/..", "e/a"];
    const ODD: [&str; 8] = ["", "./a", "d//a", "d/.", "a/.", "d/../a", "s/a", "no/e"];
    // As long as can be, and one byte more: of a name, and of a path.
    let long = prop::sample::select(vec![255, 256]).prop_map(|len| "n".repeat(len));
    let longer = prop::sample::select(vec![2047, 2048]).prop_map(|times| "./".repeat(times) + "a");
    prop_oneof![
        60 => prop::sample::select(&USUAL[..]).prop_map(str::to_owned),
        12 => prop::sample::select(&ODD[..]).prop_map(str::to_owned),
        1 => long,
        1 => longer,
    ]
}

fn fd() -> impl Strategy<Value = Fd> {
    prop_oneof![24 => 3..8, 4 => 8..12, 1 => Just(-1), 1 => Just(i32::MAX)].prop_map(Fd::Number)
}

fn flags() -> impl Strategy<Value = Vec<OpenFlag>> {
    use OpenFlag::{
        Accmode3, Append, Cloexec, Creat, Directory, Excl, Nofollow, Nonblock, Path, Rdonly, Rdwr, Trunc, Wronly,
    };
    let access = prop_oneof![3 => Just(Rdonly), 2 => Just(Wronly), 6 => Just(Rdwr), 1 => Just(Accmode3)];
    let more = prop::sample::subsequence(vec![Excl, Trunc, Append, Directory, Nofollow, Nonblock, Path], 0..=2);
    let more = prop_oneof![3 => Just(Vec::new()), 1 => more];
    (access, more, prop::bool::weighted(0.7), prop::bool::weighted(0.2)).prop_map(
        |(access, mut more, create, cloexec)| {
            more.push(access);
            more.extend(create.then_some(Creat));
            more.extend(cloexec.then_some(Cloexec));
            more
        },
    )
}

fn how() -> impl Strategy<Value = String> {
    const USUAL: [&str; 5] = ["SH", "EX", "SH|NB", "EX|NB", "UN"];
    const ODD: [&str; 7] = ["", "SH|EX", "NB", "UN|NB", "EX|UN", "MAND|SH", "SH|EX|NB"];
    prop_oneof![12 => prop::sample::select(&USUAL[..]), 1 => prop::sample::select(&ODD[..])].prop_map(str::to_owned)
}

fn lock() -> impl Strategy<Value = Call> {
    let kind = prop_oneof![Just(RangeKind::Posix), Just(RangeKind::Ofd)];
    let mode = prop_oneof![2 => Just(RangeType::Rd), 3 => Just(RangeType::Wr), 2 => Just(RangeType::Un)];
    let start = prop_oneof![20 => -1_i64..8, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    let len = prop_oneof![20 => -2_i64..6, 1 => Just(i64::MAX), 1 => Just(i64::MIN)];
    (fd(), kind, mode, any::<bool>(), start, len).prop_map(|(fd, kind, mode, wait, start, len)| Call::Lock {
        fd,
        kind,
        mode,
        wait,
        start,
        len,
    })
}

fn on_descriptors() -> impl Strategy<Value = Call> {
    let text = "[a-z]{0,5}";
    let whence = prop_oneof![Just(Whence::Set), Just(Whence::Cur), Just(Whence::End)];
    prop_oneof![
        4 => fd().prop_map(|fd| Call::Close { fd }),
        1 => (0..3).prop_map(|number| Call::Close { fd: Fd::Number(number) }),
        3 => fd().prop_map(|fd| Call::Dup { fd }),
        2 => (fd(), fd()).prop_map(|(fd, to)| Call::Dup2 { fd, to }),
        1 => (fd(), fd(), prop::sample::subsequence(vec![OpenFlag::Cloexec, OpenFlag::Rdonly, OpenFlag::Append], 0..=1))
            .prop_map(|(fd, to, flags)| Call::Dup3 { fd, to, flags }),
        1 => (fd(), prop_oneof![9 => -1..12, 1 => Just(i32::MAX)], any::<bool>()).prop_map(|(fd, min, cloexec)| Call::Dupfd { fd, min, cloexec }),
        1 => fd().prop_map(|fd| Call::Getfd { fd }),
        1 => (fd(), any::<bool>()).prop_map(|(fd, cloexec)| Call::Setfd { fd, cloexec }),
        1 => (fd(), 0_u32..6).prop_map(|(fd, len)| Call::Read { fd, len }),
        1 => (fd(), 0_u32..6, -1_i64..9).prop_map(|(fd, len, off)| Call::Pread { fd, len, off }),
        1 => (fd(), text).prop_map(|(fd, data)| Call::Write { fd, data }),
        1 => (fd(), text, -1_i64..9).prop_map(|(fd, data, off)| Call::Pwrite { fd, data, off }),
        1 => (fd(), -3_i64..9, whence).prop_map(|(fd, off, whence)| Call::Lseek { fd, off, whence }),
        1 => (fd(), -1_i64..9).prop_map(|(fd, len)| Call::Ftruncate { fd, len }),
        1 => fd().prop_map(|fd| Call::Fstat { fd }),
    ]
}

fn on_names() -> impl Strategy<Value = Call> {
    let rename_flags = prop::sample::subsequence(vec![RenameFlag::Noreplace, RenameFlag::Exchange], 0..=2);
    prop_oneof![
        2 => path().prop_map(|path| Call::Unlink { path }),
        2 => path().prop_map(|path| Call::Mkdir { path }),
        1 => path().prop_map(|path| Call::Rmdir { path }),
        2 => (path(), path()).prop_map(|(from, to)| Call::Rename { from, to }),
        1 => (path(), path(), rename_flags).prop_map(|(from, to, flags)| Call::Renameat2 { from, to, flags }),
        1 => (path(), path()).prop_map(|(from, to)| Call::Link { from, to }),
        // Nothing leads out of the directory, where the machines differ.
        1 => (path().prop_filter("leads out", |to| !to.contains("..") && to != "."), path())
            .prop_map(|(target, path)| Call::Symlink { target, path }),
        1 => path().prop_map(|path| Call::Readlink { path }),
        1 => (path(), any::<bool>()).prop_map(|(path, follow)| Call::Stat { path, follow }),
        1 => path().prop_map(|path| Call::Readdir { path }),
    ]
}

/// Any step.
pub(super) fn step() -> impl Strategy<Value = Step> {
    let lock_file = prop::sample::select(&["a", "a", "a", "b"][..]).prop_map(|path| Call::Open {
        path: path.to_owned(),
        flags: vec![OpenFlag::Rdwr, OpenFlag::Creat],
        mode: 0o644,
    });
    let mode = prop_oneof![5 => Just(0o644), 1 => Just(0o755)];
    let open = (path(), flags(), mode).prop_map(|(path, flags, mode)| Call::Open { path, flags, mode });
    let again =
        (3_u32..9, prop::sample::select(vec![OpenFlag::Rdonly, OpenFlag::Rdwr])).prop_map(|(number, access)| {
            Call::Open { path: format!("/proc/self/fd/{number}"), flags: vec![access], mode: 0o644 }
        });
    let flock = (fd(), how()).prop_map(|(fd, how)| Call::Flock { fd, how });
    let soft = prop_oneof![8 => 0_u64..14, 4 => Just(64), 1 => Just(65)];
    let hard = prop_oneof![4 => Just(None), 1 => Just(Some(64)), 1 => Just(Some(u64::MAX))];
    let limit = (soft, hard).prop_map(|(soft, hard)| Call::Setrlimit { soft, hard });
    let what = prop_oneof![
        16 => lock_file.prop_map(What::Call),
        16 => open.prop_map(What::Call),
        2 => again.prop_map(What::Call),
        40 => flock.prop_map(What::Call),
        10 => lock().prop_map(What::Call),
        20 => on_descriptors().prop_map(What::Call),
        12 => on_names().prop_map(What::Call),
        1 => limit.prop_map(What::Call),
        1 => any::<bool>().prop_map(|restart| What::Call(Call::Sighandler { restart })),
        5 => Just(What::Fork),
        1 => Just(What::Exec),
        1 => path().prop_map(What::Execute),
        1 => Just(What::Exit),
        2 => Just(What::Kill),
        2 => Just(What::Signal),
    ];
    (0_usize..8, prop::bool::weighted(0.8), what).prop_map(|(process, open, what)| Step {
        process,
        exact: false,
        open,
        what,
    })
}
