//! What runs in the guest. The crate's tests have these modules too; the program itself begins in `main.rs`.

mod afterwards;
mod cards;
mod files;
mod host_keys;
mod port;
mod renew;
mod settle;
mod sys;

use crate::protocol::{FromGuest, FromHost, Hello, HostDecoder, Step, VERSION};
use afterwards::Afterwards;
use port::Port;
use std::process::ExitCode;

/// What a step says when it fails: the step, and a sentence that holds no secret.
type Failed = crate::protocol::Failure;

/// Makes a failure of `step` from whatever went wrong with `what`.
fn failed(step: Step, what: &str) -> impl FnOnce(std::io::Error) -> Failed {
    let what = what.to_owned();
    move |error| Failed {
        step,
        message: format!("{what}: {error}"),
    }
}

/// Serves the host until the machine ends. Told `--detach`, it goes on behind the back of whoever started it.
pub(crate) fn run() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.iter().map(String::as_str).collect::<Vec<_>>()[..] {
        [] => {}
        ["--detach"] => match sys::detach() {
            Ok(true) => {}
            Ok(false) => return ExitCode::SUCCESS,
            Err(error) => {
                eprintln!("anyvirt-renew: cannot detach: {error}");
                return ExitCode::FAILURE;
            }
        },
        _ => {
            eprintln!("anyvirt-renew takes nothing but --detach");
            return ExitCode::FAILURE;
        }
    }
    // Without it the machine could never be told who it is. Where that is not permitted it runs all the same.
    let _ = std::fs::write("/proc/self/oom_score_adj", "-1000");
    // What it does wakes others, who would take the processor from it: it ends sooner if they wait for it.
    let _ = sys::go_first();
    loop {
        let port = match port::wait_for() {
            Ok(port) => port,
            Err(error) if port::is_taken(&error) => {
                eprintln!("anyvirt-renew: another one has the port");
                return ExitCode::FAILURE;
            }
            Err(error) => {
                eprintln!("anyvirt-renew: cannot open the port: {error}");
                return ExitCode::FAILURE;
            }
        };
        // It went away with its device: perhaps it comes back.
        let error = serve(&port);
        eprintln!("anyvirt-renew: the port ended: {error}");
    }
}

/// Answers the host until the port is gone; gives why.
fn serve(port: &Port) -> std::io::Error {
    let afterwards = Afterwards::start(port.clone());
    let mut ear = HostDecoder::default();
    let mut buffer = [0; 4096];
    port.say(&hello());
    let mut known = None;
    loop {
        let count = match port.read(&mut buffer) {
            Ok(count) => count,
            Err(error) => return error,
        };
        for heard in ear.feed(&buffer[..count]) {
            port.say(&match heard {
                Ok(FromHost::Who) => hello(),
                Ok(FromHost::Settle) => match settle::settle() {
                    Ok((about, found)) => {
                        known = Some(found);
                        FromGuest::Settled(about)
                    }
                    Err(failure) => FromGuest::Failed(failure),
                },
                Ok(FromHost::Renew(order)) => {
                    match renew::renew(&order, renew::Mode::InEarnest, known.as_ref()) {
                        Ok((proof, remains)) => {
                            port.say(&FromGuest::Renewed(Box::new(proof)));
                            port.say(&FromGuest::Note(remains.took.clone()));
                            afterwards.begin(remains);
                            continue;
                        }
                        Err(failure) => FromGuest::Failed(failure),
                    }
                }
                Ok(FromHost::Clock(time)) => match renew::set_clock(time) {
                    Ok(time) => FromGuest::ClockSet(time),
                    Err(failure) => FromGuest::Failed(failure),
                },
                Err(fault) => FromGuest::Failed(Failed {
                    step: Step::Orders,
                    message: fault.to_string(),
                }),
            });
        }
    }
}

fn hello() -> FromGuest {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    FromGuest::Hello(Hello {
        version: VERSION,
        about: format!("Linux {}", release.trim()),
    })
}
