//! The command `synos-agent`; everything it does is in the library.

#![forbid(unsafe_code)]

use std::panic;
use std::process::{self, ExitCode};

fn main() -> ExitCode {
    // A worker that panicked would leave the service with one worker less: better a new process at the next connection.
    // Not by `panic = "abort"`: tests ignore it, so that each crate would be compiled twice.
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        report(info);
        process::abort()
    }));
    synos_agent::cli::run(std::env::args_os().skip(1))
}
