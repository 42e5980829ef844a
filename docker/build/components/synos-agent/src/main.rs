//! The command `synos-agent`; everything it does is in the library.

#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    synos_agent::cli::run(std::env::args_os().skip(1))
}
