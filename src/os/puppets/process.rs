//! A process that does as it is told, and the stage that forks the first ones.

use std::io::{BufRead, BufReader, Write};
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use rustix::fs::Mode;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit, umask};

use super::{FIRST_SOCKET, Order, STAGE, socket_numbers, syscalls};
use crate::conform::call::{Done, Outcome};

/// What the program is when it is started for this; said on its command line, never by a user.
#[derive(Debug, clap::Subcommand)]
pub enum Role {
    /// Forks the processes of all cases.
    Stage {
        /// Where the sockets are to be had.
        socket: PathBuf,
    },
    /// A process that has executed the program again.
    Again {
        /// Which one.
        process: u32,
        /// Its descriptors, but for the sockets, separated by commas.
        kept: String,
    },
}

/// Does as it is told until nobody is there to tell.
pub fn main(role: &Role) {
    match role {
        Role::Stage { socket } => {
            if connect(socket).is_some() {
                umask(Mode::from_raw_mode(0o022));
                syscalls::adopt_orphans();
                serve(STAGE);
            }
        }
        Role::Again { process, kept } => {
            let kept: Vec<i32> = kept.split(',').filter_map(|number| number.parse().ok()).collect();
            syscalls::close_all_but(&kept);
            answer(*process, &Ok(Done::default()));
            serve(*process);
        }
    }
}

/// Makes all sockets, at their numbers, for this process and all that it will fork.
fn connect(socket: &PathBuf) -> Option<()> {
    syscalls::close_from(3); // what some ancestor forgot about
    let limit = getrlimit(Resource::Nofile);
    let enough = limit.maximum.map_or(1024, |maximum| maximum.min(1024));
    let current = Some(limit.current.unwrap_or(enough).max(enough));
    setrlimit(Resource::Nofile, Rlimit { current, maximum: limit.maximum }).ok()?;
    for number in socket_numbers() {
        let stream = UnixStream::connect(socket).ok()?;
        syscalls::keep_at(&stream, number)?;
    }
    Some(())
}

fn socket(process: u32) -> UnixStream {
    syscalls::stream_at(FIRST_SOCKET + process as i32)
}

fn answer(process: u32, outcome: &Outcome) {
    let mut line = serde_json::to_string(outcome).expect("outcomes can be written");
    line.push('\n');
    if std::mem::ManuallyDrop::new(socket(process)).write_all(line.as_bytes()).is_err() {
        syscalls::exit_now(1);
    }
}

/// Never returns in a child that it forks; in the others when there is nobody on the other side.
fn serve(mut me: u32) {
    'as_another: loop {
        let mut orders = std::mem::ManuallyDrop::new(BufReader::new(socket(me)));
        let mut line = String::new();
        loop {
            line.clear();
            if !matches!(orders.read_line(&mut line), Ok(1..)) {
                syscalls::exit_now(0);
            }
            let order = match serde_json::from_str(&line) {
                Ok(order) => order,
                Err(_) => syscalls::exit_now(2),
            };
            let outcome = match order {
                Order::Call(call) => syscalls::make(&call),
                Order::Fork { child } | Order::Start { child, .. } => match syscalls::fork() {
                    Ok(0) => {
                        if let Order::Start { directory, .. } = order
                            && std::env::set_current_dir(directory).is_err()
                        {
                            syscalls::exit_now(3);
                        }
                        me = child;
                        continue 'as_another;
                    }
                    outcome => outcome.map(Done::returning),
                },
                Order::Exec { path } => Err(syscalls::execute(path.as_deref(), me)),
                Order::Exit => syscalls::exit_now(0),
                Order::Reap => {
                    syscalls::reap_all();
                    Ok(Done::default())
                }
            };
            answer(me, &outcome);
        }
    }
}
