//! SIGINT and SIGTERM as a cancellation token: the first asks to drain, the second to leave at once.

use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// Tokens that fire on the first and on the second signal.
#[derive(Clone)]
pub(crate) struct Signals {
    /// Finish what runs, then leave.
    pub(crate) drain: CancellationToken,
    /// Leave now.
    pub(crate) abort: CancellationToken,
}

/// Listens for SIGINT and SIGTERM until the process ends.
pub(crate) fn listen() -> std::io::Result<Signals> {
    let signals = Signals { drain: CancellationToken::new(), abort: CancellationToken::new() };
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let tokens = signals.clone();
    tokio::spawn(async move {
        for token in [tokens.drain, tokens.abort] {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
            token.cancel();
        }
    });
    Ok(signals)
}
