//! Logs go to stderr, as text for people or JSON for machines; the filter comes from the command line.

use crate::args::Cli;
use std::io::IsTerminal as _;
use tracing_subscriber::EnvFilter;

/// Installs the subscriber. A filter that cannot be parsed falls back to the command's default and says so.
pub(crate) fn init(cli: &Cli) {
    let default = cli.command.default_log();
    let wanted = cli.log.as_deref().unwrap_or(default);
    let filter = EnvFilter::try_new(wanted).unwrap_or_else(|e| {
        eprintln!("reelmill: the log filter {wanted:?} is wrong ({e}); using {default:?}");
        EnvFilter::new(default)
    });
    let builder = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if cli.log_json {
        builder.json().init();
    } else {
        builder.with_ansi(std::io::stderr().is_terminal()).init();
    }
}
