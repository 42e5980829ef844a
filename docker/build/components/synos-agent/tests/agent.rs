//! The real program, on a fake file tree and on sockets in temporary directories.

#![forbid(unsafe_code)]

use std::ffi::OsStr;
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::io::OwnedFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::process::{self, Child, Command, Output, Stdio};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use serde_json::{json, Value};

const AGENT: &str = env!("CARGO_BIN_EXE_synos-agent");

/// Nothing here takes as long, unless it hangs.
const PATIENCE: Duration = Duration::from_secs(20);

/// A directory of its own for each test, which goes with the value.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        loop {
            let name = format!("synos-agent-{}-{}", process::id(), COUNT.fetch_add(1, Ordering::Relaxed));
            let path = std::env::temp_dir().join(name);
            match fs::create_dir(&path) {
                Ok(()) => return Self(path),
                // left by a killed run with the same process id
                Err(error) if error.kind() == ErrorKind::AlreadyExists => {}
                Err(error) => panic!("{}: {error}", path.display()),
            }
        }
    }

    fn socket(&self) -> PathBuf {
        self.0.join("socket")
    }

    fn root(&self) -> PathBuf {
        self.0.join("root")
    }

    fn write(&self, path: &str, text: &str) {
        let path = self.root().join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, text).unwrap();
    }

    /// A systemctl that prints `state`, and runs `failed` as its list of failed units.
    ///
    /// Written by a shell: a file this process has open for writing while another test starts a program is "busy".
    fn systemctl(&self, state: &str, failed: &str) {
        let script = format!(
            "#!/bin/sh\ncase $1 in\nis-system-running) echo {state}; [ {state} = running ];;\nlist-units) {failed};;\nesac\n"
        );
        fs::create_dir_all(self.root().join("usr/bin")).unwrap();
        let mut shell = Command::new("/bin/sh")
            .args(["-c", "cat > usr/bin/systemctl && chmod 755 usr/bin/systemctl"])
            .current_dir(self.root())
            .stdin(Stdio::piped())
            .spawn()
            .unwrap();
        shell.stdin.take().unwrap().write_all(script.as_bytes()).unwrap();
        assert!(shell.wait().unwrap().success());
    }

    /// A live system without problems.
    fn healthy() -> Self {
        let scratch = Self::new();
        scratch.write("etc/os-release", "ID=synos\nBUILD_ID=\"build 1\"\n");
        scratch.write("proc/sys/kernel/hostname", "live\n");
        scratch.write("proc/sys/kernel/osrelease", "6.1.0-amd64\n");
        scratch.write("proc/uptime", "93.99 180.12\n");
        scratch.write("proc/loadavg", "0.50 0.25 0.00 1/99 1234\n");
        scratch.write("proc/meminfo", "MemTotal: 2000000 kB\nMemFree: 5 kB\nMemAvailable: 1000000 kB\n");
        scratch.write("proc/mounts", "overlay / overlay rw 0 0\n/dev/sr0 /run/live/medium iso9660 ro 0 0\n");
        scratch.systemctl("running", ":");
        scratch
    }

    fn check(&self) -> Output {
        agent([OsStr::new("check"), "--root".as_ref(), self.root().as_ref()])
    }

    fn report(&self) -> Output {
        agent([OsStr::new("report"), "--socket".as_ref(), self.socket().as_ref()])
    }

    /// A service on the fake tree that has begun to listen.
    fn serve(&self) -> Service {
        let child = Command::new(AGENT)
            .args([OsStr::new("serve"), "--socket".as_ref(), self.socket().as_ref()])
            .args([OsStr::new("--root"), self.root().as_ref()])
            .spawn()
            .unwrap();
        let service = Service(child);
        wait_until(|| UnixStream::connect(self.socket()).is_ok());
        service
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

/// A running service, which is killed with the value.
struct Service(Child);

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn wait_until(mut done: impl FnMut() -> bool) {
    let start = Instant::now();
    while !done() {
        assert!(start.elapsed() < PATIENCE, "waited in vain");
        thread::sleep(Duration::from_millis(5));
    }
}

/// Runs the program to its end; exit status 124 if that does not come.
fn agent<A: AsRef<OsStr>>(arguments: impl IntoIterator<Item = A>) -> Output {
    let mut command = Command::new("timeout");
    command.args(["60", AGENT]).args(arguments).env_remove("LISTEN_PID").env_remove("LISTEN_FDS");
    command.output().unwrap()
}

/// The one line of JSON in an output.
fn json_of(output: &[u8]) -> Value {
    let text = std::str::from_utf8(output).unwrap();
    let line = text.strip_suffix('\n').expect("a newline at the end");
    assert!(!line.contains('\n'), "more than one line: {text}");
    serde_json::from_str(line).unwrap()
}

fn read_all(path: &Path) -> Vec<u8> {
    let mut client = UnixStream::connect(path).unwrap();
    client.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = Vec::new();
    client.read_to_end(&mut bytes).unwrap();
    bytes
}

#[test]
fn check_tells_everything_about_a_healthy_system() {
    let output = Scratch::healthy().check();
    let mut json = json_of(&output.stdout);
    for space in ["total_kb", "available_kb"] {
        // of the real file system
        assert!(json["root"].as_object_mut().unwrap().remove(space).unwrap().is_u64());
    }
    let expected = json!({
        "schema": "synos.health/1", "status": "ok", "problems": [], "build_id": "build 1", "os": "synos",
        "hostname": "live", "kernel": "6.1.0-amd64", "uptime_seconds": 93, "load": [0.5, 0.25, 0.0],
        "memory": {"total_kb": 2_000_000, "available_kb": 1_000_000}, "root": {"type": "overlay"},
        "live_medium": true, "state": "running", "failed_units": [],
    });
    assert_eq!(json, expected);
    assert_eq!(output.status.code(), Some(0));
    assert!(output.stderr.is_empty());
}

#[test]
fn failed_units_are_degraded() {
    let scratch = Scratch::healthy();
    scratch.systemctl("degraded", "echo 'a.service loaded failed failed The A'");
    let output = scratch.check();
    let json = json_of(&output.stdout);
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json["status"], "degraded");
    assert_eq!(json["failed_units"], json!(["a.service"]));
    assert_eq!(json["problems"], json!(["failed units: a.service"]));
}

#[test]
fn little_memory_is_degraded() {
    let scratch = Scratch::healthy();
    scratch.write("proc/meminfo", "MemTotal: 2000000 kB\nMemAvailable: 30000 kB\n");
    let output = scratch.check();
    assert_eq!(output.status.code(), Some(1));
    assert_eq!(json_of(&output.stdout)["problems"], json!(["memory: 30000 kB of 2000000 kB available"]));
}

#[test]
fn a_boot_under_way_is_ok() {
    let scratch = Scratch::healthy();
    scratch.systemctl("starting", ":");
    let output = scratch.check();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json_of(&output.stdout)["state"], "starting");
}

#[test]
fn a_system_without_systemctl_is_ok() {
    let scratch = Scratch::healthy();
    fs::remove_file(scratch.root().join("usr/bin/systemctl")).unwrap();
    let output = scratch.check();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json_of(&output.stdout)["state"], "unknown");
}

#[test]
fn a_systemctl_without_a_bus_is_ok() {
    let scratch = Scratch::healthy();
    scratch.systemctl("''", "exit 1");
    let output = scratch.check();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(json_of(&output.stdout)["state"], "unknown");
}

#[test]
fn units_that_cannot_be_listed_are_not_invented() {
    let scratch = Scratch::healthy();
    scratch.systemctl("running", "echo broken pipe; exit 1");
    assert_eq!(json_of(&scratch.check().stdout)["failed_units"], json!([]));
}

#[test]
fn report_prints_what_the_service_answers() {
    let scratch = Scratch::healthy();
    let _service = scratch.serve();
    let output = scratch.report();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json_of(&output.stdout)["hostname"], "live");
}

#[test]
fn the_answer_is_always_a_new_one() {
    let scratch = Scratch::healthy();
    let _service = scratch.serve();
    assert_eq!(scratch.report().status.code(), Some(0));
    scratch.systemctl("degraded", "echo a.service");
    let output = scratch.report();
    assert_eq!(output.status.code(), Some(1), "{output:?}");
    assert_eq!(json_of(&output.stdout)["failed_units"], json!(["a.service"]));
}

#[test]
fn many_clients_at_once_are_answered() {
    let scratch = Scratch::healthy();
    let _service = scratch.serve();
    let clients: Vec<_> = (0..40)
        .map(|_| {
            let path = scratch.socket();
            thread::spawn(move || json_of(&read_all(&path)))
        })
        .collect();
    for client in clients {
        assert_eq!(client.join().unwrap()["status"], "ok");
    }
}

#[test]
fn clients_that_never_read_do_not_block_others() {
    let scratch = Scratch::healthy();
    // more than a socket's buffer holds, so that the service has to wait for its client
    scratch.systemctl("degraded", "yes a-unit-of-a-rather-long-name.service | head -n 20000");
    let _service = scratch.serve();
    let silent: Vec<_> = (0..3).map(|_| UnixStream::connect(scratch.socket()).unwrap()).collect();
    let start = Instant::now();
    let json = json_of(&read_all(&scratch.socket()));
    assert!(start.elapsed() < Duration::from_secs(3), "{:?}", start.elapsed());
    assert_eq!(json["failed_units"].as_array().unwrap().len(), 20_000);
    drop(silent);
}

#[test]
fn clients_that_never_read_are_given_up() {
    let scratch = Scratch::healthy();
    scratch.systemctl("degraded", "yes a-unit-of-a-rather-long-name.service | head -n 20000");
    let _service = scratch.serve();
    // one more than there are workers
    let mut silent: Vec<_> = (0..9).map(|_| UnixStream::connect(scratch.socket()).unwrap()).collect();
    let start = Instant::now();
    let json = json_of(&read_all(&scratch.socket()));
    assert_eq!(json["status"], "degraded");
    assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    // the first of them has lost the end of its answer
    let mut bytes = Vec::new();
    silent[0].set_read_timeout(Some(PATIENCE)).unwrap();
    silent[0].read_to_end(&mut bytes).unwrap();
    assert!(!bytes.ends_with(b"\n"));
}

#[test]
fn clients_that_go_away_do_no_harm() {
    let scratch = Scratch::healthy();
    let _service = scratch.serve();
    for _ in 0..20 {
        drop(UnixStream::connect(scratch.socket()).unwrap());
    }
    assert_eq!(scratch.report().status.code(), Some(0));
}

#[test]
fn the_socket_is_for_user_and_group() {
    let scratch = Scratch::healthy();
    let _service = scratch.serve();
    // the mode is set after the socket has begun to exist
    wait_until(|| fs::metadata(scratch.socket()).unwrap().permissions().mode() & 0o777 == 0o660);
}

#[test]
fn a_stale_socket_is_replaced() {
    let scratch = Scratch::healthy();
    drop(UnixListener::bind(scratch.socket()).unwrap());
    // a program that another test has just started may have it for a moment yet
    wait_until(|| UnixStream::connect(scratch.socket()).is_err());
    let _service = scratch.serve();
    assert_eq!(scratch.report().status.code(), Some(0));
}

#[test]
fn a_socket_in_use_is_left_alone() {
    let scratch = Scratch::healthy();
    let _listener = UnixListener::bind(scratch.socket()).unwrap();
    let output = agent([OsStr::new("serve"), "--socket".as_ref(), scratch.socket().as_ref()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("in use"));
    assert!(UnixStream::connect(scratch.socket()).is_ok());
}

#[test]
fn a_file_in_the_way_is_left_alone() {
    let scratch = Scratch::healthy();
    fs::write(scratch.socket(), "precious").unwrap();
    let output = agent([OsStr::new("serve"), "--socket".as_ref(), scratch.socket().as_ref()]);
    assert_eq!(output.status.code(), Some(1));
    assert!(!fs::symlink_metadata(scratch.socket()).unwrap().file_type().is_socket());
    assert_eq!(fs::read_to_string(scratch.socket()).unwrap(), "precious");
}

/// Starts `serve` with `socket` as descriptor 3, the way systemd does; the shell knows its own process id, and keeps it.
fn serve_activated(scratch: &Scratch, socket: OwnedFd, variables: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command
        .arg("-c")
        .arg(format!("{variables} exec \"$0\" serve --root \"$1\" 3<&0 < /dev/null"))
        .args([OsStr::new(AGENT), scratch.root().as_ref()])
        .stdin(socket)
        .stderr(Stdio::piped());
    command
}

#[test]
fn a_socket_from_systemd_is_served() {
    let scratch = Scratch::healthy();
    let listener = UnixListener::bind(scratch.socket()).unwrap();
    let mut command = serve_activated(&scratch, listener.into(), "LISTEN_PID=$$ LISTEN_FDS=1");
    let _service = Service(command.spawn().unwrap());
    // the command holds the socket too, and would keep it from being closed if the service failed
    drop(command);
    let output = scratch.report();
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    assert_eq!(json_of(&output.stdout)["build_id"], "build 1");
}

#[test]
fn programs_of_the_service_do_not_get_its_socket() {
    let scratch = Scratch::healthy();
    scratch.systemctl("running", "ls -l /proc/self/fd | grep -o 'socket:' | tr -d :");
    let listener = UnixListener::bind(scratch.socket()).unwrap();
    let mut command = serve_activated(&scratch, listener.into(), "LISTEN_PID=$$ LISTEN_FDS=1");
    let _service = Service(command.stderr(Stdio::null()).spawn().unwrap());
    drop(command);
    assert_eq!(json_of(&scratch.report().stdout)["failed_units"], json!([]));
}

#[test]
fn a_socket_for_another_process_is_not_served() {
    let scratch = Scratch::healthy();
    let listener = UnixListener::bind(scratch.socket()).unwrap();
    let output = serve_activated(&scratch, listener.into(), "LISTEN_PID=1 LISTEN_FDS=1").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
}

#[test]
fn more_than_one_socket_is_refused() {
    let scratch = Scratch::healthy();
    let listener = UnixListener::bind(scratch.socket()).unwrap();
    let output = serve_activated(&scratch, listener.into(), "LISTEN_PID=$$ LISTEN_FDS=2").output().unwrap();
    assert_eq!(output.status.code(), Some(2));
    assert!(String::from_utf8_lossy(&output.stderr).contains("2 sockets"));
}

#[test]
fn a_descriptor_that_is_no_listening_socket_ends_the_service() {
    let scratch = Scratch::healthy();
    let file = fs::File::open("/dev/null").unwrap();
    let (connected, _peer) = UnixStream::pair().unwrap();
    for descriptor in [OwnedFd::from(file), OwnedFd::from(connected)] {
        let output = serve_activated(&scratch, descriptor, "LISTEN_PID=$$ LISTEN_FDS=1").output().unwrap();
        assert_eq!(output.status.code(), Some(1), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("cannot serve"));
    }
}

#[test]
fn sigterm_ends_the_service() {
    let scratch = Scratch::healthy();
    let mut service = scratch.serve();
    let killed = Command::new("/bin/sh").args(["-c", &format!("kill -TERM {}", service.0.id())]).status().unwrap();
    assert!(killed.success());
    wait_until(|| service.0.try_wait().unwrap().is_some());
}

#[test]
fn nobody_answers() {
    let output = Scratch::new().report();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
    assert!(String::from_utf8_lossy(&output.stderr).contains("no report"));
}

#[test]
fn an_answer_that_is_no_report_counts_as_none() {
    let scratch = Scratch::new();
    let listener = UnixListener::bind(scratch.socket()).unwrap();
    let server = thread::spawn(move || listener.accept().unwrap().0.write_all(b"{\"status\":\"ok\"}\n").unwrap());
    let output = scratch.report();
    server.join().unwrap();
    assert_eq!(output.status.code(), Some(3));
    assert!(output.stdout.is_empty());
}

#[test]
fn a_report_that_cannot_be_written_counts_as_none() {
    let scratch = Scratch::healthy();
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let status = Command::new(AGENT)
        .args([OsStr::new("check"), "--root".as_ref(), scratch.root().as_ref()])
        .stdout(full)
        .stderr(Stdio::null())
        .status()
        .unwrap();
    assert_eq!(status.code(), Some(3));
}

#[test]
fn wrong_use_shows_the_usage() {
    for arguments in [&[][..], &["frobnicate"], &["check", "--socket", "s"], &["report", "--socket"], &["serve"]] {
        let output = agent(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        assert!(output.stdout.is_empty());
        assert!(String::from_utf8_lossy(&output.stderr).contains("\nusage: synos-agent"));
    }
}

#[test]
fn help_and_version() {
    let help = agent(["--help"]);
    assert_eq!(help.status.code(), Some(0));
    assert!(help.stdout.starts_with(b"usage: synos-agent"));
    let version = agent(["--version"]);
    assert_eq!(version.status.code(), Some(0));
    assert_eq!(String::from_utf8_lossy(&version.stdout), format!("synos-agent {}\n", env!("CARGO_PKG_VERSION")));
}
