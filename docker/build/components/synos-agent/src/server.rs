//! Answers every connection with one line, and closes it.

#![forbid(unsafe_code)]

use std::fs::{self, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{mpsc, Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

/// Connections that are answered at the same time; more wait in the socket's queue.
const WORKERS: usize = 8;

/// How long one client may take to read its answer.
const WRITE_TIMEOUT: Duration = Duration::from_secs(1);

/// Access to a socket that is bound here, and not by systemd.
const SOCKET_MODE: u32 = 0o660;

/// Binds a socket at `path`, with mode 0660. A socket that nobody listens on any more is replaced.
///
/// # Errors
/// `AddrInUse` where somebody listens at `path`, or where it is no socket; else those of bind(2).
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if is_stale_socket(path) {
        fs::remove_file(path)?;
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(SOCKET_MODE))?;
    Ok(listener)
}

fn is_stale_socket(path: &Path) -> bool {
    let is_socket = fs::symlink_metadata(path).map_or(false, |found| found.file_type().is_socket());
    is_socket && matches!(UnixStream::connect(path), Err(error) if error.kind() == io::ErrorKind::ConnectionRefused)
}

/// Answers the connections of `listener` with what `collect` returns, for ever.
///
/// `collect` is never called twice at the same time. An answer is never older than the connection that gets it; clients
/// that wait for it together share one.
///
/// Returns the error after which no more connections can be accepted, or why there are no threads to do so.
pub fn serve<C>(listener: UnixListener, collect: C) -> io::Error
where
    C: Fn() -> String + Send + Sync + 'static,
{
    let shared = Arc::new((listener, Answers::new(collect)));
    let (failed, failure) = mpsc::channel();
    for _ in 0..WORKERS {
        let (shared, failed) = (Arc::clone(&shared), failed.clone());
        let worker = move || {
            let (listener, answers) = &*shared;
            // nobody receives after the first failure
            let _ = failed.send(work(listener, answers));
        };
        if let Err(error) = thread::Builder::new().spawn(worker) {
            return error;
        }
    }
    failure.recv().expect("this function holds a sender")
}

fn work<C: Fn() -> String>(listener: &UnixListener, answers: &Answers<C>) -> io::Error {
    loop {
        match listener.accept() {
            // a client that has gone away, or does not read in time, is no failure of the server
            Ok((client, _)) => drop(send(&client, &answers.since(Instant::now()))),
            Err(error) if error.kind() == io::ErrorKind::ConnectionAborted => {}
            Err(error) => return error,
        }
    }
}

fn send(mut client: &UnixStream, line: &str) -> io::Result<()> {
    let deadline = Instant::now() + WRITE_TIMEOUT;
    let mut rest = line.as_bytes();
    while !rest.is_empty() {
        let left = deadline.saturating_duration_since(Instant::now());
        if left.is_zero() {
            return Err(io::ErrorKind::TimedOut.into());
        }
        client.set_write_timeout(Some(left))?;
        let written = client.write(rest)?;
        rest = &rest[written..];
    }
    Ok(())
}

/// Collects one answer at a time and shares it among the clients that wait for it.
struct Answers<C> {
    collect: C,
    latest: Mutex<Option<(Instant, Arc<str>)>>,
}

impl<C: Fn() -> String> Answers<C> {
    fn new(collect: C) -> Self {
        Self { collect, latest: Mutex::new(None) }
    }

    /// An answer whose collection began at `asked` or later.
    fn since(&self, asked: Instant) -> Arc<str> {
        // the value is replaced as a whole, so a panic elsewhere cannot have left half of it
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        match &*latest {
            Some((begun, answer)) if *begun >= asked => Arc::clone(answer),
            _ => {
                let begun = Instant::now();
                let answer: Arc<str> = (self.collect)().into();
                *latest = Some((begun, Arc::clone(&answer)));
                answer
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::sync::atomic::{AtomicUsize, Ordering};

    fn counting() -> Answers<impl Fn() -> String> {
        let count = AtomicUsize::new(0);
        Answers::new(move || count.fetch_add(1, Ordering::Relaxed).to_string())
    }

    #[test]
    fn who_asks_later_gets_a_new_answer() {
        let answers = counting();
        assert_eq!(&*answers.since(Instant::now()), "0");
        thread::sleep(Duration::from_millis(1));
        assert_eq!(&*answers.since(Instant::now()), "1");
    }

    #[test]
    fn who_asked_before_it_was_collected_shares_it() {
        let answers = counting();
        let asked = Instant::now();
        assert_eq!(&*answers.since(asked), "0");
        assert_eq!(&*answers.since(asked), "0");
    }

    #[test]
    fn the_line_arrives_whole() {
        let (client, mut peer) = UnixStream::pair().unwrap();
        let line = "x".repeat(2_000_000);
        let reader = thread::spawn(move || {
            let mut text = String::new();
            peer.read_to_string(&mut text).map(|_| text)
        });
        send(&client, &line).unwrap();
        drop(client);
        assert_eq!(reader.join().unwrap().unwrap(), line);
    }

    #[test]
    fn a_client_that_does_not_read_is_given_up() {
        let (client, _peer) = UnixStream::pair().unwrap();
        let (sender, receiver) = mpsc::channel();
        let start = Instant::now();
        thread::spawn(move || sender.send(send(&client, &"x".repeat(2_000_000))));
        let result = receiver.recv_timeout(WRITE_TIMEOUT * 10).expect("an end of the attempt");
        assert!(result.is_err());
        assert!(start.elapsed() >= WRITE_TIMEOUT);
    }

    #[test]
    fn a_client_that_has_gone_is_an_error() {
        let (client, peer) = UnixStream::pair().unwrap();
        drop(peer);
        assert_eq!(send(&client, "x").unwrap_err().kind(), io::ErrorKind::BrokenPipe);
    }
}
