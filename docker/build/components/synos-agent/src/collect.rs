//! Reads everything that makes a [`Health`].

#![forbid(unsafe_code)]

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use crate::health::Health;
use crate::{os_release, procfs, sys, systemd};

/// Mount point of a live system's medium.
const LIVE_MEDIUM: &str = "/run/live/medium";

/// Where the facts come from.
#[derive(Debug, Clone)]
pub struct Sources {
    /// Directory that stands for `/`: below it are `etc/os-release`, `proc/...` and `usr/bin/systemctl`.
    pub root: PathBuf,
    /// Time that systemctl gets for all its answers. It is long since a slow machine is busy while it boots.
    pub systemctl_timeout: Duration,
}

impl Sources {
    /// The sources below `root`; `/` is the running system.
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into(), systemctl_timeout: Duration::from_secs(10) }
    }

    /// Reads all sources; what cannot be read is unknown in the result.
    pub fn collect(&self) -> Health {
        let os_release = self.text("etc/os-release").or_else(|| self.text("usr/lib/os-release")).unwrap_or_default();
        let mounts = self.text("proc/mounts").unwrap_or_default();
        Health {
            os: os_release::value(&os_release, "ID"),
            build_id: os_release::value(&os_release, "BUILD_ID"),
            hostname: self.line("proc/sys/kernel/hostname"),
            kernel: self.line("proc/sys/kernel/osrelease"),
            uptime_seconds: self.text("proc/uptime").as_deref().and_then(procfs::uptime_seconds),
            load: self.text("proc/loadavg").as_deref().and_then(procfs::load),
            memory: self.text("proc/meminfo").as_deref().and_then(procfs::memory),
            root_type: procfs::mounted_type(&mounts, "/").map(str::to_owned),
            root_space: sys::file_system_space(&self.root).ok(),
            live_medium: procfs::mounted_type(&mounts, LIVE_MEDIUM).is_some(),
            manager: systemd::ask(&self.root.join("usr/bin/systemctl"), self.systemctl_timeout),
        }
    }

    fn text(&self, path: &str) -> Option<String> {
        let bytes = fs::read(self.root.join(path)).ok()?;
        Some(String::from_utf8_lossy(&bytes).into_owned())
    }

    fn line(&self, path: &str) -> Option<String> {
        self.text(path).map(|text| text.trim_end().to_owned())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::systemd::UNKNOWN;

    #[test]
    fn an_empty_tree_is_unknown() {
        let health = Sources::new("/nonexistent/root").collect();
        assert_eq!((health.os, health.hostname, health.load), (None, None, None));
        assert_eq!((health.memory, health.root_space), (None, None));
        assert!(!health.live_medium);
        assert_eq!(health.manager.state, UNKNOWN);
    }

    #[test]
    fn the_running_system_is_known() {
        let health = Sources::new("/").collect();
        assert!(health.kernel.is_some());
        assert!(health.uptime_seconds.is_some());
        assert!(health.load.is_some());
        assert!(health.memory.is_some());
        assert!(health.root_type.is_some());
        assert!(health.root_space.is_some());
    }
}
