//! Socket activation, see sd_listen_fds(3): systemd opens the socket and passes it as descriptor 3.

#![forbid(unsafe_code)]

use std::os::unix::io::RawFd;

/// The first descriptor that systemd passes.
pub const FIRST_DESCRIPTOR: RawFd = 3;

/// Number of sockets passed to the process `pid`, from the values of `$LISTEN_PID` and `$LISTEN_FDS`.
///
/// Zero where the variables are missing, are no numbers, or are meant for another process.
pub fn passed_sockets(listen_pid: Option<&str>, listen_fds: Option<&str>, pid: u32) -> u32 {
    let meant_for = listen_pid.and_then(|text| text.parse::<u32>().ok());
    if meant_for != Some(pid) {
        return 0;
    }
    listen_fds.and_then(|text| text.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_for_this_process_count() {
        assert_eq!(passed_sockets(Some("7"), Some("1"), 7), 1);
        assert_eq!(passed_sockets(Some("7"), Some("2"), 7), 2);
    }

    #[test]
    fn sockets_for_another_process_do_not() {
        assert_eq!(passed_sockets(Some("8"), Some("1"), 7), 0);
    }

    #[test]
    fn without_numbers_there_are_none() {
        assert_eq!(passed_sockets(None, Some("1"), 7), 0);
        assert_eq!(passed_sockets(Some("7"), None, 7), 0);
        assert_eq!(passed_sockets(Some(""), Some("1"), 7), 0);
        assert_eq!(passed_sockets(Some("7"), Some("-1"), 7), 0);
    }
}
