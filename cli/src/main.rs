//! `reelmill`: the one binary. Reads the command line, sets up logging, runs one command, exits with its code.
//! Everything a command does lives in its own module.

mod args;
mod client;
mod doctor;
mod etcd;
mod exit;
mod jobs;
mod logging;
mod place;
mod request;
mod roles;
mod secured;
mod show;
mod signals;
mod submit;
mod summary;
mod token;
mod transcode;
mod workers;

use args::{Cli, Command};
use clap::Parser as _;
use exit::CommandResult;
use std::process::ExitCode;

fn main() -> ExitCode {
    // this program is also the launcher of its ffmpegs, which must have one thread and no runtime
    if let Some(code) = reelmill_worker::sandbox::intercept() {
        return code;
    }
    let cli = Cli::parse();
    logging::init(&cli);
    match run(cli.command) {
        Ok(exit) => exit.into(),
        Err(failure) => {
            eprintln!("reelmill: {failure}");
            failure.exit.into()
        }
    }
}

fn run(command: Command) -> CommandResult {
    roles::install_crypto();
    let runtime = roles::runtime()?;
    let exit = runtime.block_on(async {
        match command {
            Command::Transcode(args) => transcode::run(args).await,
            Command::Serve(args) => roles::serve(args).await,
            Command::Coordinator(args) => roles::coordinator(args).await,
            Command::Worker(args) => roles::worker(args).await,
            Command::Submit(args) => submit::run(args).await,
            Command::Jobs(args) => jobs::run(args).await,
            Command::Workers(args) => workers::run(args).await,
            Command::Token(args) => token::run(args),
            Command::Doctor(args) => doctor::run(args).await,
        }
    });
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    exit
}
