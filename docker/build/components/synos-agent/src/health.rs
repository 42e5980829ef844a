//! What is known about the system, its judgement, and its JSON.

#![forbid(unsafe_code)]

use serde_json::{json, Value};

use crate::systemd::Manager;

/// Name and version of the JSON's schema. Fields may be added to it; a field that changes or goes makes a new version.
pub const SCHEMA: &str = "synos.health/1";

/// Less available memory than this is a problem, in units of 1024 bytes.
const MINIMUM_MEMORY_KB: u64 = 16 * 1024;
/// Less available memory than this share of all is a problem.
const MINIMUM_MEMORY_PERCENT: u64 = 2;
/// Less available space in the root file system than this share of all is a problem.
const MINIMUM_ROOT_PERCENT: u64 = 1;

/// Size and unused part of the memory or of a file system, in units of 1024 bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Space {
    /// All of it.
    pub total_kb: u64,
    /// What programs can still get.
    pub available_kb: u64,
}

impl Space {
    fn is_below(self, percent: u64) -> bool {
        self.available_kb.saturating_mul(100) < self.total_kb.saturating_mul(percent)
    }
}

/// Judgement of a [`Health`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// No problems.
    Ok,
    /// At least one problem.
    Degraded,
}

impl Status {
    /// The word in the JSON.
    pub fn name(self) -> &'static str {
        match self {
            Self::Ok => "ok",
            Self::Degraded => "degraded",
        }
    }
}

/// What is known about the system; `None` (`null` in the JSON) where the source is missing or not understood.
#[derive(Debug, Clone, PartialEq)]
pub struct Health {
    /// `ID` of os-release(5).
    pub os: Option<String>,
    /// `BUILD_ID` of os-release(5).
    pub build_id: Option<String>,
    /// Host name.
    pub hostname: Option<String>,
    /// Release of the kernel, as in `uname -r`.
    pub kernel: Option<String>,
    /// Whole seconds since the boot.
    pub uptime_seconds: Option<u64>,
    /// Load averages of 1, 5 and 15 minutes.
    pub load: Option<[f64; 3]>,
    /// Main memory.
    pub memory: Option<Space>,
    /// Type of the root file system.
    pub root_type: Option<String>,
    /// Space of the root file system.
    pub root_space: Option<Space>,
    /// Whether the medium of a live system is mounted.
    pub live_medium: bool,
    /// State of the service manager.
    pub manager: Manager,
}

impl Health {
    /// Everything that is wrong, one sentence each. Memory or space that cannot be measured is a problem;
    /// a service manager in an unknown state, or one still starting, is none.
    pub fn problems(&self) -> Vec<String> {
        let mut problems = Vec::new();
        problems.extend(self.manager_problem());
        problems.extend(self.memory_problem());
        problems.extend(self.root_problem());
        problems
    }

    fn manager_problem(&self) -> Option<String> {
        let failed = &self.manager.failed_units;
        match self.manager.state.as_str() {
            _ if !failed.is_empty() => Some(format!("failed units: {}", failed.join(", "))),
            // degraded: units have failed, but could not be listed
            state @ ("degraded" | "maintenance") => Some(format!("the system state is {state}")),
            _ => None,
        }
    }

    fn memory_problem(&self) -> Option<String> {
        match self.memory {
            None => Some("memory cannot be measured".to_owned()),
            Some(memory) if memory.available_kb < MINIMUM_MEMORY_KB || memory.is_below(MINIMUM_MEMORY_PERCENT) => {
                Some(shortage("memory", memory))
            }
            Some(_) => None,
        }
    }

    fn root_problem(&self) -> Option<String> {
        match self.root_space {
            None => Some("the space of the root file system cannot be measured".to_owned()),
            Some(space) if space.is_below(MINIMUM_ROOT_PERCENT) => Some(shortage("root file system", space)),
            Some(_) => None,
        }
    }

    /// Whether there are [`problems`](Self::problems).
    pub fn status(&self) -> Status {
        if self.problems().is_empty() {
            Status::Ok
        } else {
            Status::Degraded
        }
    }

    /// The JSON of schema [`SCHEMA`].
    pub fn to_json(&self) -> Value {
        json!({
            "schema": SCHEMA,
            "status": self.status().name(),
            "problems": self.problems(),
            "build_id": self.build_id,
            "os": self.os,
            "hostname": self.hostname,
            "kernel": self.kernel,
            "uptime_seconds": self.uptime_seconds,
            "load": self.load,
            "memory": {
                "total_kb": self.memory.map(|space| space.total_kb),
                "available_kb": self.memory.map(|space| space.available_kb),
            },
            "root": {
                "type": self.root_type,
                "total_kb": self.root_space.map(|space| space.total_kb),
                "available_kb": self.root_space.map(|space| space.available_kb),
            },
            "live_medium": self.live_medium,
            "state": self.manager.state,
            "failed_units": self.manager.failed_units,
        })
    }
}

fn shortage(what: &str, space: Space) -> String {
    format!("{what}: {} kB of {} kB available", space.available_kb, space.total_kb)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn healthy() -> Health {
        Health {
            os: Some("synos".to_owned()),
            build_id: Some("b1".to_owned()),
            hostname: Some("live".to_owned()),
            kernel: Some("6.1.0".to_owned()),
            uptime_seconds: Some(93),
            load: Some([0.5, 0.25, 0.0]),
            memory: Some(Space { total_kb: 2_000_000, available_kb: 1_000_000 }),
            root_type: Some("overlay".to_owned()),
            root_space: Some(Space { total_kb: 1_000_000, available_kb: 500_000 }),
            live_medium: true,
            manager: Manager { state: "running".to_owned(), failed_units: Vec::new() },
        }
    }

    fn with_memory(total_kb: u64, available_kb: u64) -> Health {
        Health { memory: Some(Space { total_kb, available_kb }), ..healthy() }
    }

    fn with_root(total_kb: u64, available_kb: u64) -> Health {
        Health { root_space: Some(Space { total_kb, available_kb }), ..healthy() }
    }

    fn with_manager(state: &str, failed: &[&str]) -> Health {
        let failed_units = failed.iter().map(|&name| name.to_owned()).collect();
        Health { manager: Manager { state: state.to_owned(), failed_units }, ..healthy() }
    }

    #[test]
    fn the_whole_json() {
        let expected = json!({
            "schema": "synos.health/1", "status": "ok", "problems": [], "build_id": "b1", "os": "synos",
            "hostname": "live", "kernel": "6.1.0", "uptime_seconds": 93, "load": [0.5, 0.25, 0.0],
            "memory": {"total_kb": 2_000_000, "available_kb": 1_000_000},
            "root": {"type": "overlay", "total_kb": 1_000_000, "available_kb": 500_000},
            "live_medium": true, "state": "running", "failed_units": [],
        });
        assert_eq!(healthy().to_json(), expected);
    }

    #[test]
    fn the_json_is_one_line_whatever_the_texts() {
        let health = Health { hostname: Some("a\n\"b\"\u{0}".to_owned()), ..healthy() };
        let line = health.to_json().to_string();
        assert!(!line.contains('\n'));
        assert_eq!(serde_json::from_str::<Value>(&line).unwrap()["hostname"], "a\n\"b\"\u{0}");
    }

    #[test]
    fn what_is_not_known_is_null() {
        let json = Health { build_id: None, load: None, memory: None, ..healthy() }.to_json();
        for unknown in [&json["build_id"], &json["load"], &json["memory"]["total_kb"]] {
            assert!(unknown.is_null());
        }
    }

    #[test]
    fn failed_units_are_named() {
        let health = with_manager("degraded", &["a.service", "b.mount"]);
        assert_eq!(health.status(), Status::Degraded);
        assert_eq!(health.problems(), ["failed units: a.service, b.mount"]);
        assert_eq!(health.to_json()["failed_units"], json!(["a.service", "b.mount"]));
    }

    #[test]
    fn a_unit_that_failed_during_the_boot_is_a_problem() {
        assert_eq!(with_manager("starting", &["a.service"]).status(), Status::Degraded);
    }

    #[test]
    fn states_that_are_problems_by_themselves() {
        for state in ["degraded", "maintenance"] {
            assert_eq!(with_manager(state, &[]).problems(), [format!("the system state is {state}")]);
        }
    }

    #[test]
    fn states_that_are_none() {
        for state in ["initializing", "starting", "running", "stopping", "offline", "unknown"] {
            assert_eq!(with_manager(state, &[]).status(), Status::Ok, "{state}");
        }
    }

    #[test]
    fn memory_below_two_percent() {
        assert_eq!(with_memory(2_000_000, 40_000).status(), Status::Ok);
        assert_eq!(with_memory(2_000_000, 39_999).problems(), ["memory: 39999 kB of 2000000 kB available"]);
    }

    #[test]
    fn memory_below_sixteen_megabytes() {
        assert_eq!(with_memory(64_000, 16_384).status(), Status::Ok);
        assert_eq!(with_memory(64_000, 16_383).status(), Status::Degraded);
    }

    #[test]
    fn root_below_one_percent() {
        assert_eq!(with_root(1_000_000, 10_000).status(), Status::Ok);
        let problems = with_root(1_000_000, 9_999).problems();
        assert_eq!(problems, ["root file system: 9999 kB of 1000000 kB available"]);
    }

    #[test]
    fn what_cannot_be_measured_is_a_problem() {
        assert_eq!(Health { memory: None, ..healthy() }.status(), Status::Degraded);
        assert_eq!(Health { root_space: None, ..healthy() }.status(), Status::Degraded);
    }

    #[test]
    fn all_problems_are_told() {
        let health = Health { memory: None, root_space: None, ..with_manager("degraded", &["a.service"]) };
        assert_eq!(health.problems().len(), 3);
    }
}
