//! Texts of proc(5).

#![forbid(unsafe_code)]

use crate::health::Space;

/// Whole seconds since the boot, from `/proc/uptime`.
pub fn uptime_seconds(text: &str) -> Option<u64> {
    let seconds: f64 = text.split_whitespace().next()?.parse().ok()?;
    (seconds.is_finite() && seconds >= 0.0).then(|| seconds as u64)
}

/// Load averages of 1, 5 and 15 minutes (runnable tasks), from `/proc/loadavg`.
pub fn load(text: &str) -> Option<[f64; 3]> {
    let mut averages = text.split_whitespace().map(|word| word.parse().ok());
    Some([averages.next()??, averages.next()??, averages.next()??])
}

/// `MemTotal` and `MemAvailable` in units of 1024 bytes, from `/proc/meminfo`.
pub fn memory(text: &str) -> Option<Space> {
    let kb = |name| {
        let (_, value) = text.lines().filter_map(|line| line.split_once(':')).find(|(key, _)| *key == name)?;
        value.trim().strip_suffix(" kB")?.trim_end().parse().ok()
    };
    Some(Space { total_kb: kb("MemTotal")?, available_kb: kb("MemAvailable")? })
}

/// Type of the file system mounted last at `mount_point`, from `/proc/mounts`.
///
/// `mount_point` must be without blanks and backslashes: the kernel escapes them, and nothing is unescaped here.
pub fn mounted_type<'a>(text: &'a str, mount_point: &str) -> Option<&'a str> {
    text.lines()
        .filter_map(|line| {
            let mut fields = line.split(' ').skip(1);
            Some((fields.next()?, fields.next()?))
        })
        .filter(|(at, _)| *at == mount_point)
        .last()
        .map(|(_, kind)| kind)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uptime_is_cut_to_whole_seconds() {
        assert_eq!(uptime_seconds("93.99 180.12\n"), Some(93));
    }

    #[test]
    fn a_senseless_uptime_is_none() {
        for text in ["", "soon", "-1 2", "inf 1", "NaN 1"] {
            assert_eq!(uptime_seconds(text), None, "{text}");
        }
    }

    #[test]
    fn three_load_averages() {
        assert_eq!(load("0.52 1.00 12.25 2/345 6789\n"), Some([0.52, 1.0, 12.25]));
    }

    #[test]
    fn a_short_load_is_none() {
        assert_eq!(load("0.52 1.00"), None);
        assert_eq!(load("0.52 x 1.00"), None);
    }

    #[test]
    fn memory_total_and_available() {
        let text = "MemTotal:        2048000 kB\nMemFree:           10 kB\nMemAvailable:    1024 kB\n";
        assert_eq!(memory(text), Some(Space { total_kb: 2_048_000, available_kb: 1024 }));
    }

    #[test]
    fn memory_without_available_is_none() {
        assert_eq!(memory("MemTotal: 2048000 kB\nMemFree: 10 kB\n"), None);
        assert_eq!(memory("MemTotal: many kB\nMemAvailable: 10 kB\n"), None);
    }

    const MOUNTS: &str = "rootfs / rootfs rw 0 0\noverlay / overlay rw,lowerdir=/a:/b 0 0\n\
                          /dev/sr0 /run/live/medium iso9660 ro 0 0\nx /run/live/medium\\040b ext4 rw 0 0\nshort\n";

    #[test]
    fn the_last_mount_counts() {
        assert_eq!(mounted_type(MOUNTS, "/"), Some("overlay"));
    }

    #[test]
    fn mount_points_are_compared_whole() {
        assert_eq!(mounted_type(MOUNTS, "/run/live/medium"), Some("iso9660"));
        assert_eq!(mounted_type(MOUNTS, "/run/live"), None);
        assert_eq!(mounted_type("", "/"), None);
    }
}
