//! A fake worker's connection: dialled, lost and dialled again, with growing pauses as a real worker's.

use futures::FutureExt as _;
use futures::future::BoxFuture;
use reelmill_common::session::{FromWorker, Termed, ToWorker};
use reelmill_proto::worker::v1 as wire;
use reelmill_proto::worker::v1::workers_client::WorkersClient;
use std::time::Duration;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use tonic::transport::Endpoint;

/// Messages waiting to be sent.
const OUTBOUND: usize = 256;
/// First pause after a failure, doubled with each further one, and the longest, milliseconds.
const PAUSE_MS: (u64, u64) = (200, 5_000);

/// What comes of listening.
pub(super) enum Heard {
    /// It is open.
    Connected,
    /// It has ended, or was never made.
    Gone,
    /// The coordinator said this.
    Said(Box<Termed<ToWorker>>),
}

/// One connection or none.
pub(super) struct Link {
    address: String,
    failures: u32,
    state: State,
}

/// Where to write, and what is read.
type Open = (mpsc::Sender<wire::FromWorker>, Streaming<wire::ToWorker>);

enum State {
    None,
    Dialling(BoxFuture<'static, Option<Box<Open>>>),
    Open(Box<Open>),
}

impl Link {
    pub(super) fn new(address: &str) -> Self {
        Self { address: address.to_owned(), failures: 0, state: State::None }
    }

    /// Drops the connection and makes another, after a pause if the last one failed.
    pub(super) fn dial(&mut self) {
        let pause = match self.failures {
            0 => 0,
            n => (PAUSE_MS.0 << (n - 1).min(16)).min(PAUSE_MS.1),
        };
        self.failures += 1;
        let address = format!("http://{}", self.address);
        let dial = async move {
            tokio::time::sleep(Duration::from_millis(pause)).await;
            let channel = Endpoint::from_shared(address).ok()?.connect().await.ok()?;
            let (outbound, messages) = mpsc::channel(OUTBOUND);
            let session = WorkersClient::new(channel).session(ReceiverStream::new(messages)).await.ok()?;
            Some(Box::new((outbound, session.into_inner())))
        };
        self.state = State::Dialling(dial.boxed());
    }

    /// A leader has answered.
    pub(super) fn is_welcome(&mut self) {
        self.failures = 0;
    }

    /// What happens next. Waits for ever without a connection.
    pub(super) async fn hear(&mut self) -> Heard {
        match &mut self.state {
            State::None => std::future::pending().await,
            State::Dialling(dial) => match dial.await {
                Some(open) => {
                    self.state = State::Open(open);
                    Heard::Connected
                }
                None => self.gone(),
            },
            State::Open(open) => match open.1.message().await.ok().flatten().map(TryInto::try_into) {
                Some(Ok(message)) => Heard::Said(Box::new(message)),
                // the end, an error, or a message that is none
                Some(Err(_)) | None => self.gone(),
            },
        }
    }

    fn gone(&mut self) -> Heard {
        self.state = State::None;
        Heard::Gone
    }

    /// Puts a message on its way; false when the connection takes no more.
    pub(super) fn say(&mut self, message: &FromWorker) -> bool {
        let State::Open(open) = &self.state else { return true };
        let full = matches!(open.0.try_send(message.into()), Err(mpsc::error::TrySendError::Full(_)));
        if full {
            self.state = State::None;
        }
        !full
    }
}
