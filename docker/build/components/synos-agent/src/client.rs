//! Asks the service for its report.

#![forbid(unsafe_code)]

use std::fmt;
use std::io::{self, Read};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::Value;

use crate::health::{Status, SCHEMA};

/// More bytes than any sensible answer has.
const MAXIMUM_ANSWER: usize = 4 * 1024 * 1024;

/// An answer of the service.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The JSON, without the newline at its end.
    pub line: String,
    /// Its `status`.
    pub status: Status,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Error {
    /// Nobody listens, or the answer has not come in time.
    Io(io::Error),
    /// What came is no report of the schema `synos.health/1`.
    NotAReport,
}

impl fmt::Display for Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Io(error) => error.fmt(formatter),
            Self::NotAReport => write!(formatter, "the answer is no report of schema {SCHEMA}"),
        }
    }
}

impl std::error::Error for Error {}

impl From<io::Error> for Error {
    fn from(error: io::Error) -> Self {
        Self::Io(error)
    }
}

/// Connects to the socket at `path` and reads the report, for no longer than `timeout`.
///
/// # Errors
/// See [`Error`].
pub fn ask(path: &Path, timeout: Duration) -> Result<Answer, Error> {
    let deadline = Instant::now() + timeout;
    let bytes = read_by(&UnixStream::connect(path)?, deadline)?;
    String::from_utf8(bytes).ok().and_then(|text| parse(&text)).ok_or(Error::NotAReport)
}

fn read_by(mut server: &UnixStream, deadline: Instant) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let mut chunk = [0; 4096];
    while bytes.len() < MAXIMUM_ANSWER {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        server.set_read_timeout(Some(left))?;
        match server.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            // what a read timeout is called here
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(io::ErrorKind::TimedOut.into()),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(bytes)
}

/// The report in `text`, which must be one whole line.
fn parse(text: &str) -> Option<Answer> {
    let line = text.strip_suffix('\n')?;
    let report: Value = serde_json::from_str(line).ok()?;
    if line.contains('\n') || report["schema"] != SCHEMA {
        return None;
    }
    let status = [Status::Ok, Status::Degraded].into_iter().find(|status| report["status"] == status.name())?;
    Some(Answer { line: line.to_owned(), status })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_statuses_are_understood() {
        for (word, status) in [("ok", Status::Ok), ("degraded", Status::Degraded)] {
            let line = format!(r#"{{"schema":"synos.health/1","status":"{word}"}}"#);
            assert_eq!(parse(&format!("{line}\n")), Some(Answer { line, status }));
        }
    }

    #[test]
    fn anything_else_is_no_report() {
        for text in [
            "",
            "\n",
            "hello\n",
            "[]\n",
            "{}\n",
            "{\"schema\":\"synos.health/2\",\"status\":\"ok\"}\n",
            "{\"schema\":\"synos.health/1\",\"status\":\"fine\"}\n",
            "{\"schema\":\"synos.health/1\",\"status\":\"ok\"}",
            "{\"schema\":\"synos.health/1\",\n\"status\":\"ok\"}\n",
        ] {
            assert_eq!(parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_server_that_says_nothing_is_given_up() {
        let (server, _peer) = UnixStream::pair().unwrap();
        let error = read_by(&server, Instant::now() + Duration::from_millis(20)).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::TimedOut);
    }
}
