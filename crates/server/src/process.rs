//! What this process uses, as the kernel counts it. The one file that knows `/proc`.

/// What the process uses.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Usage {
    pub(crate) cpu_seconds: f64,
    pub(crate) resident_bytes: u64,
    pub(crate) open_fds: u64,
}

/// Linux reports CPU time to user space in hundredths of a second, whatever its own tick is (`USER_HZ`).
const TICKS_PER_SECOND: f64 = 100.0;

/// Returns what the process uses, or `None` where the kernel does not say.
pub(crate) fn usage() -> Option<Usage> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let open_fds = std::fs::read_dir("/proc/self/fd").ok()?.count();
    // The directory being read has a descriptor of its own.
    parse(&stat, &status, open_fds.saturating_sub(1))
}

fn parse(stat: &str, status: &str, open_fds: usize) -> Option<Usage> {
    // The command stands in parentheses and may hold spaces; utime and stime are fields 14 and 15, 12 and 13 after it.
    let (_, after) = stat.rsplit_once(')')?;
    let mut ticks = after.split_whitespace().skip(11).map_while(|field| field.parse::<u32>().ok());
    let cpu = f64::from(ticks.next()?) + f64::from(ticks.next()?);
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: u64 = resident.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(Usage {
        cpu_seconds: cpu / TICKS_PER_SECOND,
        resident_bytes: kib * 1_024,
        open_fds: u64::try_from(open_fds).unwrap_or(u64::MAX),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_may_hold_anything() {
        let stat = "7 (a) b) S 1 2 3 4 5 6 7 8 9 10 150 50 0 0 20";
        let usage = parse(stat, "Name:\tx\nVmRSS:\t    1024 kB\n", 9).expect("parses");
        assert_eq!(usage, Usage { cpu_seconds: 2.0, resident_bytes: 1 << 20, open_fds: 9 });
    }

    #[test]
    fn what_is_not_said_is_absent() {
        for (stat, status) in [("", ""), ("7 (a) S 1", "VmRSS: 1 kB"), ("7 (a) S 1 2 3 4 5 6 7 8 9 10 1 1", "VmRSS: x")]
        {
            assert_eq!(parse(stat, status, 0), None);
        }
    }

    #[test]
    fn this_process_uses_something() {
        if let Some(usage) = usage() {
            assert!(usage.resident_bytes > 0 && usage.open_fds > 0);
        }
    }
}
