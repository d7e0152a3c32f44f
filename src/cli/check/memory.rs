//! How much memory a search may take, if nobody says.

/// If nothing can be found out.
const OTHERWISE: u64 = 1 << 30;

/// So many MiB in bytes; or half of what there is: of the control group, if it is limited, else of what the machine has available.
#[expect(clippy::disallowed_methods, reason = "files of the system, outside of any world")]
pub(super) fn budget(mib: Option<u64>) -> u64 {
    if let Some(mib) = mib {
        return mib.saturating_mul(1 << 20);
    }
    let read = |path: &str| std::fs::read_to_string(path).ok();
    let group = ["/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"];
    let group = group.into_iter().filter_map(read).find_map(|text| text.trim().parse().ok());
    let machine = read("/proc/meminfo").and_then(|text| available(&text));
    group.into_iter().chain(machine).min().map_or(OTHERWISE, |bytes: u64| bytes / 2)
}

/// The line `MemAvailable:   12345 kB`, in bytes.
fn available(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_available_is_read() {
        assert_eq!(available("MemTotal: 9 kB\nMemAvailable:    2048 kB\n"), Some(2 << 20));
        assert_eq!(available("MemTotal: 9 kB\n"), None);
    }
}
