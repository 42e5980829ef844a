//! State of the service manager, from systemctl(1), which asks over D-Bus.

#![forbid(unsafe_code)]

use std::path::Path;
use std::time::{Duration, Instant};

use crate::command;

/// The state where systemctl is missing, gets no answer, or says nothing.
pub const UNKNOWN: &str = "unknown";

/// What systemctl says about the whole system.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Manager {
    /// `initializing`, `starting`, `running`, `degraded`, `maintenance`, `stopping`, `offline` or [`UNKNOWN`].
    pub state: String,
    /// Names of the units that have failed; empty where they cannot be asked for.
    pub failed_units: Vec<String>,
}

/// Asks `systemctl`, for no longer than `timeout` in all; where it fails the state is [`UNKNOWN`].
pub fn ask(systemctl: &Path, timeout: Duration) -> Manager {
    let deadline = Instant::now() + timeout;
    // the exit status only tells "running" from the rest
    let state = match command::output_by(systemctl, &["is-system-running"], deadline) {
        Ok(output) => parse_state(&output.text),
        Err(_) => UNKNOWN.to_owned(),
    };
    let failed_units = if state == UNKNOWN { Vec::new() } else { failed_units(systemctl, deadline) };
    Manager { state, failed_units }
}

fn failed_units(systemctl: &Path, deadline: Instant) -> Vec<String> {
    let arguments = ["list-units", "--failed", "--plain", "--no-legend", "--no-pager", "--full"];
    match command::output_by(systemctl, &arguments, deadline) {
        Ok(output) if output.status.success() => parse_failed_units(&output.text),
        _ => Vec::new(),
    }
}

/// The state in the output of `systemctl is-system-running`.
pub fn parse_state(text: &str) -> String {
    text.split_whitespace().next().unwrap_or(UNKNOWN).to_owned()
}

/// The unit names in the output of `systemctl list-units --plain --no-legend`: the first word of each line.
pub fn parse_failed_units(text: &str) -> Vec<String> {
    text.lines().filter_map(|line| line.split_whitespace().next()).map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_is_the_first_word() {
        assert_eq!(parse_state("degraded\n"), "degraded");
        assert_eq!(parse_state("starting"), "starting");
    }

    #[test]
    fn no_output_is_unknown() {
        assert_eq!(parse_state(""), UNKNOWN);
        assert_eq!(parse_state("\n"), UNKNOWN);
    }

    #[test]
    fn unit_names_are_the_first_words() {
        let text = "  a.service loaded failed failed The A\nb@x\\x2dy.service not-found failed failed B\n\n";
        assert_eq!(parse_failed_units(text), ["a.service", "b@x\\x2dy.service"]);
        assert!(parse_failed_units("").is_empty());
    }

    #[test]
    fn without_systemctl_the_state_is_unknown() {
        let manager = ask(Path::new("/nonexistent/systemctl"), Duration::from_secs(1));
        assert_eq!(manager, Manager { state: UNKNOWN.to_owned(), failed_units: Vec::new() });
    }

    #[test]
    fn a_systemctl_that_only_fails_gives_unknown() {
        assert_eq!(ask(Path::new("/bin/false"), Duration::from_secs(10)).state, UNKNOWN);
    }
}
