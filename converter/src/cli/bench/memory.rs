//! How much memory this program has taken, as the system counts it.

/// The most bytes that were resident at once since the program started or [`forget_peak`]; `None` where the system does
/// not tell.
pub fn peak_bytes() -> Option<u64> {
    peak_in(&std::fs::read_to_string("/proc/self/status").ok()?)
}

/// Begins a new peak, where the system allows it.
pub fn forget_peak() {
    // Linux: "to reset the peak resident set size". A refusal leaves a peak that holds what was before.
    let _ = std::fs::write("/proc/self/clear_refs", "5");
}

/// From the lines of Linux' `status`: `VmHWM:     1234 kB`.
fn peak_in(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim().parse().ok()?;
    Some(kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_peak_is_read_from_the_status() {
        assert_eq!(
            peak_in("Name:\tkenar\nVmHWM:\t    1234 kB\nVmRSS:\t 999 kB\n"),
            Some(1234 << 10)
        );
        for other in ["", "VmRSS:\t 999 kB\n", "VmHWM:\t many kB\n", "VmHWM:\t 12\n"] {
            assert_eq!(peak_in(other), None, "{other}");
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_large_buffer_shows() {
        let buffer = std::hint::black_box(vec![1u8; 64 << 20]);
        assert!(peak_bytes().unwrap() >= buffer.len() as u64);
        forget_peak();
        assert!(peak_bytes().unwrap() >= buffer.len() as u64);
    }
}
