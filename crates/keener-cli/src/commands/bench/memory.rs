//! The memory of this process, as Linux counts it.

/// Resident bytes now.
pub(super) fn resident() -> Option<usize> {
    field("VmRSS:")
}

/// The highest that the resident size has been since the start, or since [`reset`].
pub(super) fn high_water() -> Option<usize> {
    field("VmHWM:")
}

/// Sets the high-water mark back to the present size; false where that is not possible.
pub(super) fn reset() -> bool {
    cfg!(target_os = "linux") && std::fs::write("/proc/self/clear_refs", "5").is_ok()
}

fn field(name: &str) -> Option<usize> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix(name))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<usize>().ok()? * 1024)
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    #[test]
    fn the_high_water_mark_sees_what_is_gone() {
        if !reset() {
            return;
        }
        let before = resident().unwrap();
        drop(std::hint::black_box(vec![1u8; 64 << 20]));
        assert!(high_water().unwrap() >= before + (60 << 20));
        assert!(reset() && high_water().unwrap() < before + (60 << 20));
    }
}
