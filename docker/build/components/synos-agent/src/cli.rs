//! The command line.

#![forbid(unsafe_code)]

use std::env;
use std::ffi::OsString;
use std::io::{self, Write};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::process::{self, ExitCode};
use std::time::Duration;

use crate::activation::{passed_sockets, FIRST_DESCRIPTOR};
use crate::collect::Sources;
use crate::health::Status;
use crate::{client, server, sys, DEFAULT_SOCKET};

const USAGE: &str = "usage: synos-agent serve [--socket PATH] | report [--socket PATH] | check | --help | --version";

const HELP: &str = "\
Reports the health of the running system as one line of JSON.

  serve   answer on the socket that systemd passes, or on a new one at PATH
  report  ask the service at PATH (default: /run/synos-agent.sock) and print its answer
  check   find out without the service, and print the same

Exit status of report and check: 0 ok, 1 degraded, 2 wrong use, 3 no report. See synos-agent(8).";

/// How long `report` waits: twice the time that systemctl gets, since another client's report may be under way, and some.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

const EXIT_DEGRADED: u8 = 1;
const EXIT_SERVE_FAILED: u8 = 1;
const EXIT_USAGE: u8 = 2;
const EXIT_NO_REPORT: u8 = 3;

/// What the command line asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Answer on `socket`, or on the one that systemd passes.
    Serve {
        /// Where to bind a socket.
        socket: Option<PathBuf>,
        /// Directory that stands for `/`.
        root: PathBuf,
    },
    /// Ask the service that listens on `socket`.
    Report {
        /// Where it listens.
        socket: PathBuf,
    },
    /// Collect without a service.
    Check {
        /// Directory that stands for `/`.
        root: PathBuf,
    },
    /// Print the help.
    Help,
    /// Print the version.
    Version,
}

/// Reads the arguments after the program's name. `serve` and `check` also take `--root DIR`, which is for tests.
///
/// # Errors
/// What is wrong with them, for the user.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let name = arguments.next().ok_or("a command is missing")?;
    let mut options = Options::read(arguments)?;
    let command = match name.to_str() {
        Some("serve") => Command::Serve { socket: options.socket.take(), root: options.take_root() },
        Some("report") => Command::Report { socket: options.socket.take().unwrap_or_else(|| DEFAULT_SOCKET.into()) },
        Some("check") => Command::Check { root: options.take_root() },
        Some("--help" | "-h") => Command::Help,
        Some("--version" | "-V") => Command::Version,
        _ => return Err(format!("unknown command {name:?}")),
    };
    if options.socket.is_some() || options.root.is_some() {
        return Err(format!("{name:?} does not take this option"));
    }
    Ok(command)
}

#[derive(Default)]
struct Options {
    socket: Option<PathBuf>,
    root: Option<PathBuf>,
}

impl Options {
    fn read(mut arguments: impl Iterator<Item = OsString>) -> Result<Self, String> {
        let mut options = Self::default();
        while let Some(name) = arguments.next() {
            let option = match name.to_str() {
                Some("--socket") => &mut options.socket,
                Some("--root") => &mut options.root,
                _ => return Err(format!("unknown argument {name:?}")),
            };
            let value = arguments.next().filter(|value| !value.is_empty());
            let value = value.ok_or_else(|| format!("{name:?} needs a value"))?;
            if option.replace(value.into()).is_some() {
                return Err(format!("{name:?} is given twice"));
            }
        }
        Ok(options)
    }

    fn take_root(&mut self) -> PathBuf {
        self.root.take().unwrap_or_else(|| "/".into())
    }
}

/// Does what the arguments after the program's name ask for.
pub fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    match parse(arguments) {
        Ok(Command::Serve { socket, root }) => serve(socket.as_deref(), root),
        Ok(Command::Report { socket }) => report(&socket),
        Ok(Command::Check { root }) => check(root),
        Ok(Command::Help) => print(&format!("{USAGE}\n\n{HELP}"), ExitCode::SUCCESS),
        Ok(Command::Version) => print(concat!("synos-agent ", env!("CARGO_PKG_VERSION")), ExitCode::SUCCESS),
        Err(problem) => wrong_use(&problem),
    }
}

fn serve(socket: Option<&Path>, root: PathBuf) -> ExitCode {
    let listener = match socket {
        Some(path) => server::bind(path),
        None => match sockets_from_systemd() {
            1 => sys::adopt_listener(FIRST_DESCRIPTOR),
            0 => return wrong_use("serve needs --socket where systemd passes no socket"),
            count => return wrong_use(&format!("systemd passes {count} sockets, not one")),
        },
    };
    let error = match listener {
        Ok(listener) => answer(listener, root),
        Err(error) => error,
    };
    fail(&format!("cannot serve: {error}"), EXIT_SERVE_FAILED)
}

fn sockets_from_systemd() -> u32 {
    let variable = |name| env::var(name).ok();
    passed_sockets(variable("LISTEN_PID").as_deref(), variable("LISTEN_FDS").as_deref(), process::id())
}

fn answer(listener: UnixListener, root: PathBuf) -> io::Error {
    let sources = Sources::new(root);
    server::serve(listener, move || format!("{}\n", sources.collect().to_json()))
}

fn report(socket: &Path) -> ExitCode {
    match client::ask(socket, ANSWER_TIMEOUT) {
        Ok(answer) => print(&answer.line, exit_code(answer.status)),
        Err(error) => fail(&format!("no report from {}: {error}", socket.display()), EXIT_NO_REPORT),
    }
}

fn check(root: PathBuf) -> ExitCode {
    let health = Sources::new(root).collect();
    print(&health.to_json().to_string(), exit_code(health.status()))
}

fn exit_code(status: Status) -> ExitCode {
    match status {
        Status::Ok => ExitCode::SUCCESS,
        Status::Degraded => ExitCode::from(EXIT_DEGRADED),
    }
}

fn print(text: &str, code: ExitCode) -> ExitCode {
    match writeln!(io::stdout().lock(), "{text}") {
        Ok(()) => code,
        Err(error) => fail(&format!("cannot write: {error}"), EXIT_NO_REPORT),
    }
}

fn wrong_use(problem: &str) -> ExitCode {
    fail(&format!("{problem}\n{USAGE}"), EXIT_USAGE)
}

fn fail(problem: &str, code: u8) -> ExitCode {
    // without standard error the exit status says it alone
    let _ = writeln!(io::stderr(), "synos-agent: {problem}");
    ExitCode::from(code)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, String> {
        parse(line.split_whitespace().map(OsString::from))
    }

    #[test]
    fn serve_with_and_without_socket() {
        assert_eq!(parsed("serve"), Ok(Command::Serve { socket: None, root: "/".into() }));
        let command = Command::Serve { socket: Some("/s".into()), root: "/r".into() };
        assert_eq!(parsed("serve --socket /s --root /r"), Ok(command));
    }

    #[test]
    fn report_has_a_default_socket() {
        assert_eq!(parsed("report"), Ok(Command::Report { socket: DEFAULT_SOCKET.into() }));
        assert_eq!(parsed("report --socket s"), Ok(Command::Report { socket: "s".into() }));
    }

    #[test]
    fn check_help_and_version() {
        assert_eq!(parsed("check"), Ok(Command::Check { root: "/".into() }));
        assert_eq!(parsed("--help"), Ok(Command::Help));
        assert_eq!(parsed("--version"), Ok(Command::Version));
    }

    #[test]
    fn wrong_use_is_refused() {
        for line in [
            "",
            "frobnicate",
            "serve extra",
            "serve --socket",
            "report --root /r",
            "report --socket a --socket b",
            "check --socket s",
            "check --verbose",
            "--help --socket s",
        ] {
            assert!(parsed(line).is_err(), "{line}");
        }
        assert!(parse(["report", "--socket", ""].map(OsString::from)).is_err());
    }

    #[test]
    fn the_help_names_the_default_socket() {
        assert!(HELP.contains(DEFAULT_SOCKET));
    }
}
