//! What a job used up is what `report.json` and the table say: CPU time against the kernel's own account of the
//! process tree.

use anyhow::{Context as _, Result, ensure};
use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::{Pid, SysconfVar, sysconf};
use reelmill_tests::film::{Film, PLAIN, Wrap};
use reelmill_tests::reelmill;
use serde_json::Value;
use std::path::Path;
use std::process::{ExitStatus, Stdio};

/// CPU milliseconds of the children that a process which has ended, and is not reaped, has waited for, and of theirs:
/// what getrusage(RUSAGE_CHILDREN) told that process last (proc(5): `cutime`, `cstime`).
fn children_cpu_ms(pid: Pid) -> Result<u64> {
    waitid(Id::Pid(pid), WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT)?;
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, after_name) = stat.rsplit_once(')').context("a name in brackets")?;
    let mut fields = after_name.split_ascii_whitespace().skip(13);
    let mut ticks = || -> Result<u64> { Ok(fields.next().context("fields 16 and 17")?.parse()?) };
    let per_second = sysconf(SysconfVar::CLK_TCK)?.context("clock ticks")?;
    Ok((ticks()? + ticks()?) * 1_000 / u64::try_from(per_second)?)
}

/// `reelmill transcode` with the proofs of its encoders in `cache`: CPU milliseconds of all its children, and how it ended.
fn run(film: &Path, out: &Path, cache: &Path) -> Result<(u64, ExitStatus)> {
    let mut command = reelmill::command(&["transcode"])?;
    command.arg(film).arg("--out").arg(out).args(["--preset", "veryfast"]).env("XDG_CACHE_HOME", cache);
    let mut child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn()?;
    let cpu_ms = children_cpu_ms(Pid::from_raw(i32::try_from(child.id())?));
    let status = child.wait()?;
    Ok((cpu_ms?, status))
}

/// The same of a film that can be transcoded, with the report.
fn transcode(film: &Path, out: &Path, cache: &Path) -> Result<(u64, Value)> {
    let (cpu_ms, status) = run(film, out, cache)?;
    ensure!(status.success(), "transcode failed");
    Ok((cpu_ms, serde_json::from_slice(&std::fs::read(out.join("report.json"))?)?))
}

/// CPU milliseconds of what a worker starts before any attempt, and charges none for: the programs' `-version` and the
/// proof of the sandbox. Told by a run that finds no film.
fn start_cpu_ms(dir: &Path, cache: &Path) -> Result<u64> {
    let nothing = dir.join("nothing.mp4");
    std::fs::write(&nothing, "<html>no film</html>")?;
    let (cpu_ms, status) = run(&nothing, &dir.join("nothing"), cache)?;
    ensure!(status.code() == Some(3), "a page was taken for a film: {status}");
    Ok(cpu_ms)
}

/// The report's CPU time is that of all children of the process, less what a start costs, give or take 5 % and 50 ms
/// (the kernel's hundredths of seconds, a process each). Reelmill's own CPU time is neither in the report nor in the
/// kernel's figure. The first run proves the encoders, for whichever job comes; the next ones find that proof.
#[test]
fn the_reports_cpu_time_is_what_the_processes_used() -> Result<()> {
    let dir = tempfile::tempdir()?;
    let cache = dir.path().join("cache");
    let short = Film { name: "short", frames: 24, ..PLAIN }.make(dir.path())?;
    transcode(&short.path, &dir.path().join("first"), &cache)?;
    // Matroska: the index is a run of ffprobe; sound: an attempt of its own
    let film = Film { name: "film", wrap: Wrap::Mkv, ..PLAIN }.make(dir.path())?;
    let (used, report) = transcode(&film.path, &dir.path().join("out"), &cache)?;

    let number = |value: &Value| value.as_u64().context("a number");
    let told = number(&report["totals"]["attempt_cpu_ms"])?;
    let others = number(&report["totals"]["other_attempts"]["cpu_ms"])?;
    let chunks: u64 =
        report["chunks"].as_array().context("chunks")?.iter().filter_map(|c| c["cpu_ms"].as_u64()).sum();
    ensure!(
        told == chunks + others && others > 0,
        "{told} of which {chunks} for chunks, {others} for others"
    );
    let start = start_cpu_ms(dir.path(), &cache)?;
    let free = used / 20 + 50;
    println!(
        "children used {used} ms, {start} of them to start; the report tells {told} ms, {others} besides chunks"
    );
    ensure!(
        (told + start).abs_diff(used) <= free,
        "the report tells {told} ms of {used}, {start} were for the start, and {free} may differ"
    );
    Ok(())
}
