//! What this machine is: cores, memory, processor model. Read once at start, from `/proc` and the cgroup.

use reelmill_common::Sha256;
use std::num::NonZero;

/// Cores this process may use (affinity and cgroup quota respected).
pub(crate) fn cores() -> u32 {
    std::thread::available_parallelism().map_or(1, NonZero::get) as u32
}

/// Memory this process may use in MiB: the machine's, or its cgroup's if that is less.
pub(crate) fn memory_mib() -> u64 {
    let machine = read("/proc/meminfo").as_deref().and_then(mem_total_mib).unwrap_or(1_024);
    let cgroup = read("/sys/fs/cgroup/memory.max").and_then(|text| text.trim().parse::<u64>().ok());
    cgroup.map_or(machine, |bytes| machine.min(bytes >> 20))
}

/// Hash of processor model and features: equal classes compute equal bytes.
pub(crate) fn processor() -> Sha256 {
    Sha256::of(processor_lines(&read("/proc/cpuinfo").unwrap_or_default()).as_bytes())
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

fn mem_total_mib(meminfo: &str) -> Option<u64> {
    let line = meminfo.lines().find_map(|l| l.strip_prefix("MemTotal:"))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? / 1024)
}

/// The lines of the first processor that name its class (x86: model and flags; ARM: part and features).
fn processor_lines(cpuinfo: &str) -> String {
    let names = ["vendor_id", "model name", "stepping", "flags", "Features", "CPU implementer", "CPU part"];
    let first = cpuinfo.split("\n\n").next().unwrap_or_default();
    let kept: Vec<&str> = first.lines().filter(|l| names.iter().any(|n| l.starts_with(n))).collect();
    kept.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_the_kernels_text() {
        assert_eq!(mem_total_mib("MemFree: 1 kB\nMemTotal:       16384 kB\n"), Some(16));
        assert_eq!(mem_total_mib("nothing"), None);
        let text = "processor\t: 0\nmodel name\t: X\nflags\t\t: a b\ncpu MHz\t: 1.0\n\nprocessor\t: 1\nmodel name\t: X\n";
        assert_eq!(processor_lines(text), "model name\t: X\nflags\t\t: a b");
    }
}
