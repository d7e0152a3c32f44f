//! What one process does: plan, build all, put the wheels where they belong, and stop in order if it is told to.

use super::super::orphans;
use super::job::{Job, Line, Outcome};
use crate::cli::interrupt::Interrupt;
use flockstep::os::OsWorld;
use flockstep::protocol::pep517::{Interpreter, Toolchain, Wheel};
use flockstep::protocol::{
    Cache, Discipline, Error, Lock, Obtained, Plan, Rank, Result, Settings, Task, build_all, place, sweep,
};
use flockstep::world::{Clock as _, LockMode};
use std::future::Future;
use std::sync::Arc;
use tokio::sync::mpsc;

/// How a job ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ended {
    /// By itself.
    Finished,
    /// It was told to stop.
    Stopped,
}

/// A worker is busy for as long as a file operation takes, and an environment has a thousand files that must reach the disk. With some
/// more, the other builds go on meanwhile.
const WORKERS: usize = 4;
/// The pool computes the digests of the sources, one after the other.
const BLOCKING_THREADS: usize = 1;

/// Says something to whoever started the work.
pub(super) trait Say: Fn(&Line) + Clone + Send + Sync + 'static {}
impl<F: Fn(&Line) + Clone + Send + Sync + 'static> Say for F {}

/// Does the job once `begin` is over; ends early when `stop` is, or by a signal, and leaves nothing behind then.
pub(super) fn run(
    job: Job,
    begin: impl Future<Output = ()> + Send + 'static,
    stop: impl Future<Output = ()> + Send + 'static,
    say: impl Say,
) -> Ended {
    orphans::adopt();
    let settings = settings(&job, say.clone());
    let own = (settings.clone(), say.clone());
    let ended = OsWorld::run(WORKERS, BLOCKING_THREADS, |world| async move {
        let (settings, say) = own;
        let mut interrupt = match Interrupt::listen() {
            Ok(interrupt) => interrupt,
            Err(error) => {
                say(&Line::Refused { text: format!("flockstep: signals: {error}\n  remedy: run it again") });
                return Ended::Finished;
            }
        };
        let ended = tokio::select! {
            result = all_of_it(&world, job, settings, begin, say.clone()) => {
                if let Err(error) = result {
                    say(&Line::Refused { text: error.to_string() });
                }
                Ended::Finished
            }
            () = stop => Ended::Stopped,
            () = interrupt.requested() => Ended::Stopped,
        };
        if ended == Ended::Finished {
            let peaks = world.peaks();
            say(&Line::End { descriptors: peaks.descriptors, locks: peaks.locks });
        }
        ended
    });
    match ended {
        Ok(Ended::Stopped) => {
            // All tasks are dropped by now, and with them the locks that nobody else has. First the hooks, whose locks keep what they
            // work in from being swept.
            orphans::end_all();
            OsWorld::run(1, 1, |world| async move { clean_up(&world, settings).await.ok() }).ok();
            Ended::Stopped
        }
        Ok(ended) => ended,
        Err(error) => {
            say(&Line::Refused { text: format!("{error}\n  remedy: raise `ulimit -n` and `ulimit -u`") });
            Ended::Finished
        }
    }
}

fn settings(job: &Job, say: impl Say) -> Settings {
    let on_wait = move |path: &str, own: bool| {
        if !own {
            say(&Line::Waiting { path: path.to_owned() });
        }
    };
    Settings {
        lock_timeout: job.lock_timeout,
        discipline: Discipline::of(job.policies.iter().map(String::as_str)).expect("the arguments were checked"),
        on_wait: Some(Arc::new(on_wait)),
        ..Settings::new(job.cache.clone(), job.temp_dir.clone())
    }
}

/// The cache root, shared, as every user of the cache holds it.
async fn enter(world: &OsWorld, cache: &Cache<OsWorld>, task: &mut Task<OsWorld>) -> Result<Lock<OsWorld>> {
    let root = task.lock(world, Rank::CacheRoot, &cache.lock_path(), LockMode::Shared).await?;
    // What others have left is no reason not to build.
    sweep(world, task).await.ok();
    Ok(root)
}

/// Removes what an interrupted run has left in temporary directories.
async fn clean_up(world: &OsWorld, settings: Settings) -> Result<()> {
    let cache = Cache::new(world, settings)?;
    let mut task = cache.command();
    // Whoever has it exclusively removes the temporary directories as well.
    if let Some(root) = task.try_lock(world, Rank::CacheRoot, &cache.lock_path(), LockMode::Shared).await? {
        sweep(world, &mut task).await?;
        root.release().await;
    }
    Ok(())
}

/// The job, from the question who Python is to the last wheel.
async fn all_of_it(
    world: &OsWorld,
    job: Job,
    settings: Settings,
    begin: impl Future<Output = ()>,
    say: impl Say,
) -> Result<()> {
    let cache = Cache::new(world, settings)?;
    let mut task = cache.command();
    let slow = say.clone();
    let on_slow = move |text: &str| slow(&Line::Slow { text: text.to_owned() });
    let toolchain = Arc::new(Toolchain {
        python: Interpreter::ask(world, &mut task, &job.python).await?,
        isolated: job.isolated,
        rebuild: job.rebuild,
        on_slow: Some(Arc::new(on_slow)),
        not_sources: job.out.iter().chain([&job.cache]).cloned().collect(),
    });
    say(&Line::Ready);
    begin.await;
    let root = enter(world, &cache, &mut task).await?;

    let (wheels, places) = plan_all(world, &job, &toolchain, &say).await;
    let offset = places.iter().position(|input| *input >= job.offset).unwrap_or(0);
    let (reported, mut results) = mpsc::unbounded_channel();
    let report = move |index: usize, result: &Result<Obtained>| drop(reported.send((index, result.clone())));
    let plan = Plan { inputs: wheels.clone(), jobs: job.jobs, offset };
    let building = build_all(world, &cache, task.order(), plan, Arc::new(report));
    // Beside the building, in one place: two descriptors, however many builds there are.
    let putting = async {
        while let Some((index, result)) = results.recv().await {
            let (wheel, input) = (&wheels[index], places[index]);
            let seconds = wheel.begun().map_or(0.0, |begun| world.now().saturating_sub(begun).as_secs_f64());
            say(&match put(world, &cache, result, job.out.as_deref()).await {
                Ok((outcome, text)) => Line::Done { input, outcome, seconds, text },
                Err(error) => failed(input, seconds, &error),
            });
        }
    };
    tokio::join!(building, putting);
    root.release().await;
    Ok(())
}

/// The inputs that can be built, and their places among all. The others are done.
async fn plan_all(world: &OsWorld, job: &Job, toolchain: &Arc<Toolchain>, say: &impl Say) -> (Vec<Wheel>, Vec<usize>) {
    let (mut wheels, mut places) = (Vec::new(), Vec::new());
    for (input, path) in job.inputs.iter().enumerate() {
        match Wheel::plan(world, path, toolchain).await {
            Ok(wheel) => {
                wheels.push(wheel);
                places.push(input);
            }
            Err(error) => say(&failed(input, 0.0, &error)),
        }
    }
    (wheels, places)
}

/// Puts the wheel of a result where the user wants it; where it is then.
async fn put(
    world: &OsWorld,
    cache: &Cache<OsWorld>,
    result: Result<Obtained>,
    out: Option<&str>,
) -> Result<(Outcome, String)> {
    let obtained = result?;
    let outcome = if matches!(obtained, Obtained::Built(_)) { Outcome::Built } else { Outcome::Reused };
    let file = Wheel::file(world, obtained.entry()).await?;
    match out {
        Some(out) => Ok((outcome, place(world, cache, &file, out).await?)),
        None => Ok((outcome, file)),
    }
}

fn failed(input: usize, seconds: f64, error: &Error) -> Line {
    Line::Done { input, outcome: Outcome::Failed, seconds, text: error.to_string() }
}
