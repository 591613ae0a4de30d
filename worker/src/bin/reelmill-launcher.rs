//! The launcher alone: what `reelmill` is when it is started with the launcher's first argument. The tests of this crate
//! have no `reelmill` at hand and use this one; nothing else does.

use std::process::ExitCode;

fn main() -> ExitCode {
    reelmill_worker::sandbox::intercept().unwrap_or_else(|| {
        eprintln!("reelmill-launcher: this is for a worker to start, not for people");
        ExitCode::FAILURE
    })
}
