//! The simulated kernel against the real one: random calls by several processes, made on both, outcome by outcome.
//!
//! Compared are results and errors, descriptor numbers, data, link counts, who sleeps and who is woken, and after each step the flock
//! table of every file as /proc/locks has it. Where the kernel promises no order (several that are woken race, a process that dies gives up
//! one thing after the other) the model follows every order, and what the kernel shows leaves those that agree ([`Possible`]). None left is a
//! difference, the first time it is seen: nothing is repeated until it fits.
//!
//! [`Possible`]: flockstep::conform::Possible

mod pair;
mod steps;

use flockstep::conform::call::{Call, Done, Fd, OpenFlag};
use flockstep::conform::{self, Machine, Possible, Progress, Simulated, Verdict, case};
use flockstep::os::OsWorld;
use flockstep::os::puppets::Puppets;
use flockstep::sim::kernel::{Kernel, Quirk};
use flockstep::world::{LockMode, OpenOptions, Process, Status};
use pair::{Fault, Pair, Tally};
use proptest::collection::vec;
use proptest::test_runner::{Config, RngSeed, TestCaseError, TestError, TestRunner};
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use steps::{Step, step};

/// How many sequences the usual run makes; PROPTEST_CASES asks for more.
const SEQUENCES: u32 = 40;
const STEPS: Range<usize> = 20..80;

fn kernel() -> Puppets {
    Puppets::start_from(Path::new(env!("CARGO_BIN_EXE_flockstep")), None).unwrap()
}

/// A sequence that differs, as short as it could be made.
struct Found {
    steps: Vec<Step>,
    how: String,
}

/// Compares the kernel with `model` until they differ; what differs is shrunk.
fn compare(config: Config, steps: Range<usize>, model: impl Fn() -> Simulated) -> (Tally, Option<Found>) {
    let kernel = RefCell::new(kernel());
    let tally = RefCell::new(Tally::default());
    let trouble = RefCell::new(None);
    let result = TestRunner::new(config).run(&vec(step(), steps), |steps| {
        if trouble.borrow().is_some() {
            return Ok(()); // to be told, not to be shrunk
        }
        let (mut kernel, mut tally) = (kernel.borrow_mut(), tally.borrow_mut());
        tally.sequences += 1;
        let pair = Pair::new(model(), &mut kernel, &mut tally);
        match pair.and_then(|mut pair| pair.run(&steps)) {
            Ok(()) => Ok(()),
            Err(Fault::TooMany) => {
                tally.given_up += 1;
                Ok(())
            }
            Err(Fault::Differs(how)) => Err(TestCaseError::fail(how)),
            Err(Fault::Trouble(what)) => {
                *trouble.borrow_mut() = Some(what);
                Err(TestCaseError::fail("the machine failed"))
            }
        }
    });
    if let Some(trouble) = trouble.into_inner() {
        panic!("the machine failed: {trouble}");
    }
    let found = result.err().map(|error| match error {
        TestError::Fail(how, steps) => shorten(Found { steps, how: how.to_string() }, &mut kernel.borrow_mut(), &model),
        TestError::Abort(why) => panic!("{why}"),
    });
    (tally.into_inner(), found)
}

/// The same difference with every step left out that is not needed. To leave one out changes who the how many'th process of the others is,
/// so proptest could not; here they are named by the numbers that they came to.
fn shorten(mut found: Found, kernel: &mut Puppets, model: &impl Fn() -> Simulated) -> Found {
    let mut differs = |steps: &[Step]| {
        let mut tally = Tally::default();
        let mut pair = Pair::new(model(), kernel, &mut tally).ok()?;
        match pair.run(steps) {
            Err(Fault::Differs(how)) => Some(Found { steps: pair.into_steps(), how }),
            _ => None,
        }
    };
    found = differs(&found.steps).unwrap_or(found);
    loop {
        let before = found.steps.len();
        for at in (0..before).rev().filter(|_| before > 1) {
            if at < found.steps.len() {
                let mut without = found.steps.clone();
                without.remove(at);
                found = differs(&without).unwrap_or(found);
            }
        }
        if found.steps.len() == before {
            return found;
        }
    }
}

#[test]
#[expect(clippy::print_stdout, reason = "the long run tells how long it was")]
fn the_model_is_the_kernel() {
    // proptest's own variable asks for more sequences without building everything again.
    let cases = OsWorld::new().var("PROPTEST_CASES").map_or(SEQUENCES, |cases| cases.parse().unwrap());
    // The usual run makes the same sequences every time; the long one makes new ones.
    let rng_seed = if cases == SEQUENCES { RngSeed::Fixed(1) } else { RngSeed::Random };
    let config = Config { cases, source_file: Some(file!()), max_shrink_iters: 1_000, rng_seed, ..Config::default() };
    let (tally, found) = compare(config, STEPS, Simulated::new);
    let Tally { calls, sequences, sleeps, told_apart, states, given_up } = tally;
    let divergences = u32::from(found.is_some());
    println!(
        "{calls} calls in {sequences} sequences, {divergences} divergences; {sleeps} calls slept, {told_apart} times the kernel showed which \
         of several possible orders it had taken (of at most {states}), {given_up} sequences were given up for too many"
    );
    if let Some(Found { steps, how }) = found {
        panic!("{how}\n{steps:#?}");
    }
    assert!(given_up * 100 <= sequences, "more than one in a hundred sequences was given up");
}

/// Where the shortest sequences that find planted mistakes are written down, as cases.
const PLANTED: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/conform/planted.jsonl");

/// Mistakes that a model of the kernel could make, each under a name and in words.
const MISTAKES: [(Quirk, &str, &str); 6] = [
    (Quirk::RefusedUpgradeKeeps, "refused-upgrade-keeps", "a refused upgrade keeps the lock"),
    (Quirk::CloseOfDuplicateReleases, "close-of-duplicate-releases", "closing one duplicate releases the lock"),
    (Quirk::UnlockByChildIgnored, "unlock-by-child-ignored", "LOCK_UN in a forked child is ignored"),
    (Quirk::NumbersNotReused, "numbers-not-reused", "the lowest descriptor number is not used again"),
    (Quirk::EmfileAfterCreation, "emfile-after-creation", "EMFILE comes after the file was created"),
    (Quirk::DowngradeWakesNobody, "downgrade-wakes-nobody", "EX to SH does not wake those who wait to share"),
];

#[expect(clippy::disallowed_methods, reason = "a file of the test's")]
fn planted() -> String {
    std::fs::read_to_string(PLANTED).unwrap()
}

/// A JSON object with these fields first.
fn ordered(object: &Value, first: &[&str]) -> String {
    let object = object.as_object().expect("a step is an object");
    let place = |name: &String| (first.iter().position(|other| other == name).unwrap_or(first.len()), name.clone());
    let mut names: Vec<&String> = object.keys().collect();
    names.sort_by_key(|&name| place(name));
    let fields: Vec<String> = names.iter().map(|&name| format!("{}: {}", json!(name), object[name])).collect();
    format!("{{{}}}", fields.join(", "))
}

/// The test of the test: each mistake is found, and it is what was found.
///
/// By which sequence, and how short that can be made, differs from run to run: where those who are woken race, the real kernel decides whether a
/// sequence shows the mistake, and with it the next one that is tried. Sequences of one run are written down as cases, for the test below.
#[test]
fn planted_mistakes_are_found() {
    let update = OsWorld::new().var("FLOCKSTEP_UPDATE").is_some();
    let mut written = String::new();
    for (quirk, name, what) in MISTAKES {
        let rng_seed = RngSeed::Fixed(1);
        let config =
            Config { cases: 20_000, failure_persistence: None, max_shrink_iters: 1_000, rng_seed, ..Config::default() };
        let (tally, found) = compare(config, 1..80, || Simulated::with_quirk(quirk));
        let Found { steps, how } = found.unwrap_or_else(|| panic!("{quirk:?} was not found in {tally:?}"));
        let (mut kernel, mut tally) = (kernel(), Tally::default());
        let sound = Pair::new(Simulated::new(), &mut kernel, &mut tally).and_then(|mut pair| {
            pair.run(&steps)?;
            pair.into_case()
        });
        let Ok(steps) = sound else { panic!("{name}: without the mistake nothing differs") };
        let note = format!("found a kernel in which {what}: {how}");
        let steps: Vec<String> = steps.iter().map(|step| ordered(step, &["proc", "op"])).collect();
        let (name, note, steps) = (json!(name), json!(note), steps.join(", "));
        let source = "\"source\": [\"derived:tests/differential.rs\"], \"level\": \"spec\", \"tags\": [\"planted\"]";
        written += &format!("{{\"name\": {name}, {source}, \"note\": {note}, \"steps\": [{steps}]}}\n");
    }
    #[expect(clippy::disallowed_methods, reason = "with FLOCKSTEP_UPDATE the cases are written down anew")]
    if update {
        std::fs::write(PLANTED, &written).unwrap();
    }
}

/// The sequences that are written down: both kernels do what they say, and a kernel with the mistake does not.
#[test]
fn planted_mistakes_are_told_by_their_cases() {
    let cases = case::parse(planted().as_bytes()).unwrap();
    assert_eq!(cases.len(), MISTAKES.len());
    let mut kernel = kernel();
    for (case, (quirk, name, _)) in cases.iter().zip(MISTAKES) {
        assert_eq!(case.name, name);
        assert_eq!(conform::run(case, &mut kernel, true), Verdict::Passed, "{name}: the real kernel");
        assert_eq!(conform::run(case, &mut Simulated::new(), true), Verdict::Passed, "{name}: the simulated one");
        let wrong = conform::run(case, &mut Simulated::with_quirk(quirk), true);
        assert!(matches!(wrong, Verdict::Failed(_)), "{name}: the one with the mistake: {wrong:?}");
    }
}

/// The race that made [`Possible`] necessary. Two who sleep for one description, one to share and one not, are woken together and both
/// return; the later one has converted the lock of the earlier one. The model allows both ends, and the kernel shows one of them.
#[test]
fn sleepers_of_one_description_race() {
    let open = Call::Open { path: "a".into(), flags: vec![OpenFlag::Rdwr, OpenFlag::Creat], mode: 0o644 };
    let flock = |how: &str| Call::Flock { fd: Fd::Number(3), how: how.into() };
    let mut model = Possible::begin(Simulated::new(), &[0, 1]);
    let mut kernel = kernel();
    kernel.begin(&[0, 1]).unwrap();
    for (process, call) in [(0, &open), (1, &open), (1, &flock("EX"))] {
        model.call(process, call).unwrap();
        kernel.call(process, call).unwrap();
    }
    model.fork(0, 2);
    kernel.fork(0, 2).unwrap().unwrap();
    for (process, call) in [(0, &flock("SH")), (2, &flock("EX")), (1, &flock("UN"))] {
        model.call(process, call).unwrap();
        kernel.call(process, call).unwrap();
    }
    assert_eq!(model.count(), 2);
    for process in [0, 2] {
        assert_eq!(kernel.returned(process).unwrap(), Some(Ok(Done::default())));
        model.observe(|machine| machine.words(&[process].into()), &[(process, "ok 0".to_owned())].into()).unwrap();
    }
    let look = |machine: &mut Simulated| machine.locks_at(1, "a").unwrap();
    let sights = model.clone().observe(look, &"none of them".to_owned()).unwrap_err();
    assert_eq!(sights, ["held [EX] waiting []".to_owned(), "held [SH] waiting []".to_owned()].into());
    let Progress::Returned(Ok(Done { stat: Some(stat), .. })) =
        kernel.call(1, &Call::Fstat { fd: Fd::Number(3) }).unwrap()
    else {
        panic!("the file is open");
    };
    let table =
        kernel.locks(stat.file()).unwrap().expect("/proc/locks shows the locks of a tmpfs or a local filesystem");
    model.observe(look, &table.to_string()).unwrap();
}

/// The other race that the kernel leaves open: of a process that dies while it holds a lock and sleeps for the same file, the request and the
/// lock go one after the other and wake separately, and the later arrival may win.
#[test]
fn those_who_wait_for_a_dying_sleeper_race() {
    let open = Call::Open { path: "a".into(), flags: vec![OpenFlag::Rdwr, OpenFlag::Creat], mode: 0o644 };
    let lock = |fd| Call::Flock { fd: Fd::Number(fd), how: "EX".into() };
    let mut model = Possible::begin(Simulated::new(), &[0, 1, 2]);
    let mut kernel = kernel();
    kernel.begin(&[0, 1, 2]).unwrap();
    let calls =
        [(0, &open), (0, &open), (1, &open), (2, &open), (0, &lock(3)), (0, &lock(4)), (1, &lock(3)), (2, &lock(3))];
    for (process, call) in calls {
        model.call(process, call).unwrap();
        kernel.call(process, call).unwrap();
    }
    model.end(0, Status::Killed(9)).unwrap();
    kernel.kill(0).unwrap();
    let look = |machine: &mut Simulated| machine.words(&[1, 2].into());
    let granted = |process: u32| BTreeMap::from([(process, "ok 0".to_owned())]);
    let sights = model.clone().observe(look, &BTreeMap::new()).unwrap_err();
    assert_eq!(sights, [granted(1), granted(2)].into());
    let winners: Vec<u32> = [1, 2].into_iter().filter(|&process| kernel.returned(process).unwrap().is_some()).collect();
    let [winner] = winners[..] else { panic!("one of them has the lock: {winners:?}") };
    model.observe(look, &granted(winner)).unwrap();
}

/// A dying process loses its locks one by one, the highest descriptor first: an observer who polls sees the second one free while the
/// first is held, and never the other way round.
#[test]
fn death_takes_one_lock_at_a_time() {
    let seen = |quirk: Option<Quirk>| {
        let mut kernel = Kernel::default();
        if let Some(quirk) = quirk {
            kernel = kernel.with_quirk(quirk);
        }
        let (dying, observer) = (kernel.new_process(64), kernel.new_process(64));
        let mut open = |pid, path: &str| kernel.open(pid, &path.into(), OpenOptions::lock_file()).unwrap().descriptor;
        let locks = [open(dying, "/a"), open(dying, "/b")];
        let looks = [open(observer, "/a"), open(observer, "/b")];
        for fd in locks {
            assert_eq!(kernel.grant(dying, fd, LockMode::Exclusive, 0, 0), Ok(true));
        }
        kernel.end(dying, Status::Killed(9));
        let mut seen = Vec::new();
        loop {
            let more = kernel.close_next(dying, &mut Vec::new());
            seen.push(looks.map(|fd| kernel.can_lock(observer, fd, LockMode::Exclusive)));
            if !more {
                seen.dedup();
                return seen;
            }
        }
    };
    assert_eq!(seen(None), [[false, true], [true, true]]);
    assert_eq!(seen(Some(Quirk::DeathIsOneStep)), [[true, true]], "and this is how it would look otherwise");
}
