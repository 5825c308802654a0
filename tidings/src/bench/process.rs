//! What the kernel says of a process.

use anyhow::Context;

/// The kernel counts processor time in hundredths of a second, whatever its own clock is (`man 5 proc`, USER_HZ).
const TICKS_PER_SECOND: f64 = 100.0;

/// Resident memory in KiB.
///
/// # Errors
/// When the process is gone.
pub(super) fn rss_kib(id: u32) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).context("the broker has ended")?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("no VmRSS for the process")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}

/// Processor time so far, in the program and for it in the kernel, in seconds.
///
/// # Errors
/// When the process is gone.
pub(super) fn cpu_s(id: u32) -> anyhow::Result<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{id}/stat")).context("the broker has ended")?;
    // The name in parentheses may contain spaces; user and system time are fields 14 and 15.
    let fields = stat.rsplit_once(')').context("/proc/PID/stat has another form")?.1;
    let ticks = fields.split_whitespace().skip(11).take(2).map(str::parse::<f64>);
    Ok(ticks.sum::<Result<f64, _>>()? / TICKS_PER_SECOND)
}

/// How many files this process may open.
pub(super) fn open_files_limit() -> Option<usize> {
    let limits = std::fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The machine's load in the last minute, to be told beside the figures.
pub(super) fn load_average() -> String {
    let text = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
    text.split_whitespace().next().unwrap_or("?").to_owned()
}
