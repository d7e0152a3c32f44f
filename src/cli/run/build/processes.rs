//! Several processes that do one job together: the parent's side and the worker's.
//!
//! A worker's standard input is its life line: the job, then `go` when all are ready, so that all begin together; its end means
//! stop, whether the parent was asked to stop or is dead. What a worker has to say it writes to its standard output, a [`Line`] each.

#![expect(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these are whole processes, each with a world of its own, and none of them is in a world itself"
)]

use super::job::{Job, Line, Outcome};
use super::tally::Tally;
use super::work::{self, Ended};
use crate::cli::interrupt::Interrupt;
use std::collections::BTreeSet;
use std::io::{BufRead as _, Write as _};
use std::process::Stdio;
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::mpsc;

/// Runs `processes` workers on the job, each beginning with another input, to the end of all.
///
/// # Errors
/// If a worker cannot be started.
pub(super) fn run(job: &Job, processes: usize, tally: &mut Tally) -> std::io::Result<Ended> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut stop = Interrupt::listen()?;
        let (said, mut lines) = mpsc::unbounded_channel();
        let mut children: Vec<Child> = Vec::new();
        let mut life_lines: Vec<ChildStdin> = Vec::new();
        for process in 0..processes {
            let (child, life_line) = start(job, process, processes, said.clone()).await?;
            children.push(child);
            life_lines.push(life_line);
        }
        drop(said);
        let mut ended = Ended::Finished;
        let mut not_ready: BTreeSet<usize> = (0..processes).collect();
        let mut unfinished = not_ready.clone();
        loop {
            let line = tokio::select! {
                line = lines.recv() => line,
                () = stop.requested(), if ended == Ended::Finished => {
                    ended = Ended::Stopped;
                    life_lines.clear();
                    continue;
                }
            };
            let Some((process, line)) = line else { break };
            // One that is refused or dead is not waited for either.
            let begins = matches!(line, None | Some(Line::Ready | Line::Refused { .. }));
            if begins && not_ready.remove(&process) && not_ready.is_empty() {
                for life_line in &mut life_lines {
                    life_line.write_all(b"go\n").await.ok();
                }
            }
            if matches!(line, Some(Line::End { .. } | Line::Refused { .. })) {
                unfinished.remove(&process);
            }
            // A hook that fails while everything is being stopped was stopped as well.
            let stopped = ended == Ended::Stopped && matches!(line, Some(Line::Done { outcome: Outcome::Failed, .. }));
            if let Some(line) = line.filter(|_| !stopped) {
                tally.take(process, line);
            }
        }
        for (process, mut child) in children.into_iter().enumerate() {
            let status = child.wait().await?;
            if unfinished.contains(&process) && ended == Ended::Finished {
                tally.fail_the_rest(
                    process,
                    &format!("process {process} ended early: {status}\n  remedy: run it again"),
                );
            }
        }
        Ok(ended)
    })
}

/// Starts one worker, gives it its job, and passes on what it says.
async fn start(
    job: &Job,
    process: usize,
    processes: usize,
    said: mpsc::UnboundedSender<(usize, Option<Line>)>,
) -> std::io::Result<(Child, ChildStdin)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["run", "build-worker"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()?;
    let mut life_line = child.stdin.take().expect("standard input is piped");
    let mut lines = BufReader::new(child.stdout.take().expect("standard output is piped")).lines();
    tokio::spawn(async move {
        while let Ok(Some(line)) = lines.next_line().await {
            match serde_json::from_str(&line) {
                Ok(line) => drop(said.send((process, Some(line)))),
                Err(_) => break,
            }
        }
        drop(said.send((process, None)));
    });
    let job = Job { offset: process * job.inputs.len() / processes, ..job.clone() };
    let mut text = serde_json::to_vec(&job)?;
    text.push(b'\n');
    life_line.write_all(&text).await?;
    Ok((child, life_line))
}

/// The worker: does the job that it is given, and says so.
pub(super) fn worker() -> Ended {
    let mut input = std::io::BufReader::new(std::io::stdin()).lines();
    let Some(job) = input.next().and_then(Result::ok).and_then(|line| serde_json::from_str::<Job>(&line).ok()) else {
        return Ended::Stopped;
    };
    let (go, begin) = tokio::sync::oneshot::channel();
    let (alive, mut dead) = mpsc::channel::<()>(1);
    // A thread of its own: reading a life line blocks, and it ends only with the process.
    std::thread::spawn(move || {
        if input.next().is_some_and(|line| line.is_ok()) {
            go.send(()).ok();
            input.next();
        }
        drop(alive);
    });
    let begin = async move { drop(begin.await) };
    let parent_gone = async move {
        dead.recv().await;
    };
    work::run(job, begin, parent_gone, say)
}

/// One line, in one write.
fn say(line: &Line) {
    let text = serde_json::to_string(line).expect("plain data") + "\n";
    // Without a parent nobody listens, and the life line has ended too.
    std::io::stdout().lock().write_all(text.as_bytes()).ok();
}
