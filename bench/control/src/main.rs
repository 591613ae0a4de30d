//! `make bench-control`: measures the control plane. `--help` tells the options; see `bench/RESULTS.md` for what came of it.

use anyhow::{Context as _, Result, bail};
use reelmill_bench_control::{Options, run};
use std::path::PathBuf;
use std::time::Duration;

const HELP: &str = "\
Measures the control plane: a real coordinator over a real etcd, TCP connections of workers without encoders.

    reelmill-bench-control [--reelmill target/release/reelmill] [--embedded] [--workers 2000] [--slots 1]
        [--chunks 10000] [--open 100000] [--rate N | --work-ms 0] [--warm-up 15] [--seconds 60] [--kills 0]
        [--directory DIR] [--out FILE.json]

--rate N gives work a length such that all slots together finish N chunks a second, if they wait for nothing;
--work-ms sets it; by default it takes no time, and the control plane is what limits. Half to one and a half times that
is drawn for each chunk. --chunks is the size of a job, --open how many chunks are open at any time.
";

fn main() -> Result<()> {
    let mut arguments = std::env::args().skip(1);
    let mut options = defaults()?;
    let (mut out, mut rate) = (None, None);
    while let Some(name) = arguments.next() {
        let mut value = || arguments.next().with_context(|| format!("{name} needs a value"));
        match name.as_str() {
            "--help" => {
                print!("{HELP}");
                return Ok(());
            }
            "--embedded" => options.embedded = true,
            "--reelmill" => options.reelmill = value()?.into(),
            "--directory" => options.directory = Some(value()?.into()),
            "--out" => out = Some(PathBuf::from(value()?)),
            "--workers" => options.workers = value()?.parse()?,
            "--slots" => options.slots = value()?.parse()?,
            "--chunks" => options.chunks = value()?.parse()?,
            "--open" => options.open = value()?.parse()?,
            "--kills" => options.kills = value()?.parse()?,
            "--rate" => rate = Some(value()?.parse::<f64>()?),
            "--work-ms" => options.work = Duration::from_millis(value()?.parse()?),
            "--warm-up" => options.warm_up = Duration::from_secs(value()?.parse()?),
            "--seconds" => options.measured = Duration::from_secs(value()?.parse()?),
            _ => bail!("{name} is not known; --help tells what is"),
        }
    }
    if let Some(rate) = rate {
        options.work = Duration::from_secs_f64(options.workers as f64 * f64::from(options.slots) / rate);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let figures = runtime.block_on(run(options))?;
    print!("{figures}");
    println!("{}", figures.json());
    if let Some(out) = out {
        std::fs::write(&out, format!("{:#}\n", figures.json()))?;
    }
    Ok(())
}

fn defaults() -> Result<Options> {
    let beside = std::env::current_exe()?.parent().context("a folder")?.join("reelmill");
    Ok(Options {
        reelmill: beside,
        embedded: false,
        workers: 2_000,
        slots: 1,
        chunks: 10_000,
        open: 100_000,
        work: Duration::ZERO,
        warm_up: Duration::from_secs(15),
        measured: Duration::from_secs(60),
        leases_s: (15, 10),
        kills: 0,
        directory: None,
    })
}
