//! Programs that must end in time.

#![forbid(unsafe_code)]

use std::io::{self, Read};
use std::path::Path;
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::sync::mpsc;
use std::thread;
use std::time::{Duration, Instant};

/// How often the end of a program is looked for once it has closed its output.
const POLL: Duration = Duration::from_millis(2);

/// What a program has printed, and how it ended.
#[derive(Debug)]
pub struct Output {
    /// Standard output; bytes that are not UTF-8 are replaced.
    pub text: String,
    /// Exit status.
    pub status: ExitStatus,
}

/// Runs `program` in the C locale with no input. Its standard error goes where this program's goes: into the journal.
///
/// # Errors
/// Where it cannot be started; `TimedOut` where it has not ended by `deadline`: it is killed then.
pub fn output_by(program: &Path, arguments: &[&str], deadline: Instant) -> io::Result<Output> {
    let mut command = Command::new(program);
    command.args(arguments).env("LC_ALL", "C").stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child = command.spawn()?;
    let result = finish(&mut child, deadline);
    if result.is_err() {
        // an error here means that it has ended by itself in the meantime
        let _ = child.kill();
        let _ = child.wait();
    }
    result
}

fn finish(child: &mut Child, deadline: Instant) -> io::Result<Output> {
    let stdout = child.stdout.take().expect("standard output is piped");
    let bytes = read_by(stdout, deadline)?;
    let status = wait_by(child, deadline)?;
    Ok(Output { text: String::from_utf8_lossy(&bytes).into_owned(), status })
}

/// Everything up to the end of the pipe, read by a thread of its own since a pipe knows no timeout.
fn read_by(mut stdout: ChildStdout, deadline: Instant) -> io::Result<Vec<u8>> {
    let (sender, receiver) = mpsc::channel();
    thread::Builder::new().spawn(move || {
        let mut bytes = Vec::new();
        let result = stdout.read_to_end(&mut bytes).map(|_| bytes);
        // nobody receives after the deadline
        let _ = sender.send(result);
    })?;
    let left = deadline.saturating_duration_since(Instant::now());
    receiver.recv_timeout(left).unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()))
}

fn wait_by(child: &mut Child, deadline: Instant) -> io::Result<ExitStatus> {
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(status);
        }
        if Instant::now() >= deadline {
            return Err(io::ErrorKind::TimedOut.into());
        }
        thread::sleep(POLL);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sh(script: &str, timeout: Duration) -> io::Result<Output> {
        output_by(Path::new("/bin/sh"), &["-c", script], Instant::now() + timeout)
    }

    #[test]
    fn output_and_status() {
        let output = sh("echo $LC_ALL; exit 4", Duration::from_secs(10)).unwrap();
        assert_eq!(output.text, "C\n");
        assert_eq!(output.status.code(), Some(4));
    }

    #[test]
    fn more_output_than_a_pipe_holds() {
        let output = sh("head -c 300000 /dev/zero", Duration::from_secs(10)).unwrap();
        assert_eq!(output.text.len(), 300_000);
    }

    #[test]
    fn a_program_that_hangs_is_killed() {
        let start = Instant::now();
        let error = sh("exec sleep 60", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_program_that_closes_its_output_and_hangs_is_killed() {
        let start = Instant::now();
        let error = sh("exec sleep 60 > /dev/null", Duration::from_millis(50)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
        assert!(start.elapsed() < Duration::from_secs(30));
    }

    #[test]
    fn a_missing_program_is_an_error() {
        let error = output_by(Path::new("/nonexistent/program"), &[], Instant::now()).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::NotFound);
    }
}
