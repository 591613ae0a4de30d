//! A worker over real gRPC that invents its output: asks, grants, uploads and reports as a real one.

use crate::film::{self, COST};
use bytes::Bytes;
use reelmill_blob::{PutOptions, Stores};
use reelmill_common::audit::AuditReport;
use reelmill_common::capability::{Capability, EncoderProof};
use reelmill_common::keys::report_key;
use reelmill_common::ladder::EncoderFamily;
use reelmill_common::outcome::{Fault, FaultKind, Outcome, Report, ReportBody, Verdict};
use reelmill_common::session::{AttemptProgress, FromWorker, Hello, Lease, NamedFile, Termed, ToWorker};
use reelmill_common::spec::{ChunkMedia, WorkItem};
use reelmill_common::{AttemptId, BootId, FencingTerm, Fingerprint, Secret, Sha256, SpecId, WorkerId};
use reelmill_proto::stored::{encode_analysis, encode_audit, encode_chunk_report, encode_index};
use reelmill_proto::worker::v1 as wire;
use reelmill_proto::worker::v1::workers_client::WorkersClient;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::transport::Channel;
use tonic::{Request, Status, Streaming};

/// How a worker behaves.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub(crate) enum Manner {
    /// As it should.
    #[default]
    Good,
    /// Its reports of chunks count one frame too few.
    Miscounts,
    /// Its source is no film.
    Refuses,
    /// Every attempt makes other bytes: its own name stands at the end of each file.
    Stamps,
    /// The same, and when a chunk's files are uploaded it is never heard of again.
    Vanishes,
    /// As it should, and gone after its first chunk of the picture.
    Leaves,
    /// What it makes is whole and wrong, which no report tells; as an auditor it says that all is well.
    Rotten,
    /// As it should, with an encoder build that gives other decoder configurations.
    OtherBuild,
}

impl Manner {
    /// What its build gives where that of others gives `avcc`.
    fn gives(self, mut avcc: Vec<u8>) -> Vec<u8> {
        if self == Self::OtherBuild {
            avcc[2] = 8;
        }
        avcc
    }

    fn proof(self) -> EncoderProof {
        EncoderProof {
            family: EncoderFamily::X264,
            fingerprint: Fingerprint(Sha256::of(if self == Self::OtherBuild { b"other" } else { b"clip" })),
            kilopixels_per_second: 50_000,
        }
    }
}

/// An attempt and its files by name.
pub(crate) type Uploaded = (AttemptId, BTreeMap<String, Vec<u8>>);

/// What all workers of a test share and remember.
#[derive(Clone, Default)]
pub(crate) struct Fleet {
    pub(crate) stores: Stores,
    /// Specs by how often they were worked on.
    pub(crate) worked: Arc<Mutex<BTreeMap<SpecId, u32>>>,
    /// What a worker had uploaded of a chunk when it vanished.
    pub(crate) vanished: Arc<Mutex<Option<Uploaded>>>,
}

/// In what is made and wrong.
pub(crate) const ROTTEN: &str = "rotten";

/// How the invented files are served.
pub(crate) const MEDIA: PutOptions =
    PutOptions { content_type: Some("video/mp4"), cache_control: Some("immutable") };

/// The client's end of a session.
pub(crate) struct Session {
    pub(crate) outbound: mpsc::Sender<wire::FromWorker>,
    pub(crate) inbound: Streaming<wire::ToWorker>,
}

/// A worker's advertisement: two slots, x264.
pub(crate) fn hello(name: &str, boot: &str) -> Hello {
    let worker = WorkerId::parse(name).expect("a name");
    let proof = Manner::Good.proof();
    Hello {
        worker: worker.clone(),
        boot: BootId::parse(boot).expect("a name"),
        highest_term: FencingTerm(0),
        capability: Capability {
            worker,
            slots: 2,
            cores: 2,
            memory_mib: 64_000,
            encoders: vec![proof],
            ffmpeg_build: "ffmpeg version of a test".to_owned(),
            audits: true,
            audits_sound: true,
        },
        running: Vec::new(),
        unsettled: Vec::new(),
    }
}

/// A request that shows a token.
pub(crate) fn signed<T>(token: Option<&Secret>, message: T) -> Request<T> {
    let mut request = Request::new(message);
    if let Some(token) = token {
        let value = format!("Bearer {}", token.reveal()).parse().expect("a token");
        request.metadata_mut().insert("authorization", value);
    }
    request
}

impl Session {
    /// Opens a session and says Hello.
    pub(crate) async fn open(address: SocketAddr, hello: Hello) -> Result<Self, Status> {
        Self::signed(address, None, hello).await
    }

    /// The same with a token.
    pub(crate) async fn signed(
        address: SocketAddr,
        token: Option<&Secret>,
        hello: Hello,
    ) -> Result<Self, Status> {
        let channel = Channel::from_shared(format!("http://{address}"))
            .expect("an address")
            .connect()
            .await
            .map_err(|e| Status::unavailable(e.to_string()))?;
        Self::over(channel, token, hello).await
    }

    /// The same over a connection that is open.
    pub(crate) async fn over(channel: Channel, token: Option<&Secret>, hello: Hello) -> Result<Self, Status> {
        let (outbound, messages) = mpsc::channel(64);
        outbound.send((&FromWorker::Hello(hello)).into()).await.expect("a fresh channel has room");
        let request = signed(token, ReceiverStream::new(messages));
        let inbound = WorkersClient::new(channel).session(request).await?.into_inner();
        Ok(Self { outbound, inbound })
    }

    /// Says something; the coordinator may have gone.
    pub(crate) async fn say(&self, message: FromWorker) {
        let _ = self.outbound.send((&message).into()).await;
    }

    /// What the coordinator says next; `None` at the end of the stream.
    pub(crate) async fn next(&mut self) -> Result<Option<Termed<ToWorker>>, Status> {
        let message = self.inbound.message().await?;
        Ok(message.map(|m| m.try_into().expect("a message of the coordinator converts")))
    }
}

impl Fleet {
    /// Works until the coordinator ends the session.
    pub(crate) async fn work(
        &self,
        address: SocketAddr,
        token: Option<&Secret>,
        name: &str,
        manner: Manner,
    ) -> Result<(), Status> {
        let boot = if manner == Manner::Vanishes { "boot0" } else { "boot1" };
        let mut hello = hello(name, boot);
        hello.capability.encoders = vec![manner.proof()];
        let mut session = Session::signed(address, token, hello).await?;
        let mut held: BTreeMap<AttemptId, (Box<Lease>, Done)> = BTreeMap::new();
        let mut heartbeat = tokio::time::interval(std::time::Duration::from_millis(200));
        let (mut sequence, mut last) = (0, None);
        loop {
            let message = tokio::select! {
                message = session.next() => message?,
                _ = heartbeat.tick() => {
                    sequence += 1;
                    let progress = |a: &AttemptId| AttemptProgress {
                        attempt: *a,
                        done: 0,
                        total: 1,
                        cost: COST,
                    };
                    let running = held.keys().map(progress).collect();
                    session.say(FromWorker::Heartbeat { sequence, running }).await;
                    continue;
                }
            };
            let Some(Termed { message, .. }) = message else { return Ok(()) };
            match message {
                ToWorker::Welcome { .. } => session.say(FromWorker::Lease { slots: 2 }).await,
                ToWorker::Lease(lease) => {
                    *self.worked.lock().expect("not poisoned").entry(lease.spec).or_default() += 1;
                    let attempt = lease.attempt;
                    let done = self.make(&lease, manner);
                    let files = done.names();
                    held.insert(attempt, (lease, done));
                    session.say(FromWorker::Grant { attempt, files }).await;
                }
                ToWorker::Granted { attempt, allowed: true, .. } => {
                    let (lease, done) = held.remove(&attempt).expect("granted what was asked for");
                    if let (Manner::Vanishes, Done::Files(files, _)) = (manner, &done) {
                        let files = files.iter().cloned().collect();
                        *self.vanished.lock().expect("not poisoned") = Some((attempt, files));
                        self.upload(&lease, done).await;
                        return Ok(());
                    }
                    let outcome = Box::new(self.upload(&lease, done).await);
                    let (job, spec) = (lease.job.clone(), lease.spec);
                    if manner == Manner::Leaves && is_picture(&lease.item) {
                        last = Some(attempt);
                    }
                    session.say(FromWorker::Outcome { attempt, job, spec, outcome }).await;
                }
                ToWorker::Granted { attempt, allowed: false, .. } | ToWorker::Revoke { attempt } => {
                    held.remove(&attempt);
                    session.say(FromWorker::Lease { slots: 1 }).await;
                }
                ToWorker::Settled { attempt, .. } if last == Some(attempt) => return Ok(()),
                ToWorker::Settled { verdict: Verdict::Won | Verdict::Lost | Verdict::Gone, .. } => {
                    session.say(FromWorker::Lease { slots: 1 }).await;
                }
                ToWorker::HeartbeatAck { .. } | ToWorker::Renewed { .. } => {}
                ToWorker::Drain { .. } => return Ok(()),
            }
        }
    }

    fn make(&self, lease: &Lease, manner: Manner) -> Done {
        match &lease.item {
            _ if manner == Manner::Refuses => Done::Not(Fault {
                kind: FaultKind::Source,
                message: "the source is not a film".to_owned(),
                detail: String::new(),
            }),
            WorkItem::Index(spec) => {
                Done::Private(encode_index(&film::index(&spec.location)), ReportBody::Index(COST))
            }
            WorkItem::Analyse(spec) => {
                let mut report = film::analysis(spec);
                report.avcc = report.avcc.into_iter().map(|avcc| manner.gives(avcc)).collect();
                Done::Private(encode_analysis(&report), ReportBody::Analyse(report, COST))
            }
            WorkItem::Audit(spec) => Done::Look { frames: spec.frames(), sees: manner != Manner::Rotten },
            WorkItem::Encode(spec) => {
                let (mut files, mut report) = film::encode(spec);
                if matches!(manner, Manner::Stamps | Manner::Vanishes) {
                    film::stamp(&mut files, &mut report, &lease.attempt.to_string());
                }
                if manner == Manner::Rotten {
                    film::stamp(&mut files, &mut report, ROTTEN);
                }
                if let ChunkMedia::Video(chunk) = &spec.media {
                    report.encoder = Some(manner.proof());
                    let own = |level: u8| manner.gives(film::avcc(level));
                    if chunk.rungs.iter().any(|r| r.avcc != own(r.settings.level)) {
                        return Done::Not(Fault {
                            kind: FaultKind::Binding,
                            message: "the decoder configuration is another".to_owned(),
                            detail: String::new(),
                        });
                    }
                }
                if manner == Manner::Miscounts {
                    report.units[0] -= 1;
                }
                Done::Files(files, report)
            }
        }
    }

    async fn upload(&self, lease: &Lease, done: Done) -> Outcome {
        let package = self.stores.open(&lease.output.package).expect("the package opens");
        let work = self.stores.open(&lease.output.work).expect("the private area opens");
        let (stored, body) = match done {
            Done::Not(fault) => return Outcome::Failed { fault, cost: COST },
            Done::Look { frames, sees } => {
                if sees && self.is_rotten(lease).await {
                    let message = "it is rotten".to_owned();
                    let fault = Fault { kind: FaultKind::Media, message, detail: String::new() };
                    return Outcome::Failed { fault, cost: COST };
                }
                let report = AuditReport { frames, worst_x100: 0 };
                (encode_audit(&report), ReportBody::Audit(report, COST))
            }
            Done::Private(stored, body) => (stored, body),
            Done::Files(files, report) => {
                for (name, content) in files {
                    let (content, options) = (Bytes::from(content), MEDIA);
                    if lease.output.own {
                        package.put_replace(&name, content, options).await.expect("a file is written");
                    } else {
                        let put = package.put_create(&name, content, options).await;
                        let _ = put.expect("a file is written, or lies there already");
                    }
                }
                (encode_chunk_report(&report), ReportBody::Encode(report))
            }
        };
        let key = report_key(lease.spec, lease.attempt);
        let (bytes, sha256) = (stored.len() as u64, Sha256::of(&stored));
        work.put_replace(key.as_str(), Bytes::from(stored), PutOptions::default())
            .await
            .expect("a report is written");
        Outcome::Done(Report { key, sha256, bytes, body })
    }
}

impl Fleet {
    /// Looks at the file of an audit where its lease says that it is.
    async fn is_rotten(&self, lease: &Lease) -> bool {
        let grant = lease.audited.as_ref().expect("an audit's lease says where");
        let reader = reelmill_blob::open_source(&self.stores, &grant.url).await.expect("it is there");
        let found = reader.read(0..reader.bytes()).await.expect("it is read");
        let WorkItem::Audit(spec) = &lease.item else { panic!("an audit") };
        assert_eq!((found.len() as u64, Sha256::of(&found)), (spec.bytes, spec.sha256), "it is as committed");
        found.windows(ROTTEN.len()).any(|w| w == ROTTEN.as_bytes())
    }
}

fn is_picture(item: &WorkItem) -> bool {
    matches!(item, WorkItem::Encode(spec) if matches!(spec.media, ChunkMedia::Video(_)))
}

/// What came of a lease before it is uploaded.
enum Done {
    /// An audit of so many frames, by somebody who sees what is wrong or does not.
    Look {
        frames: u64,
        sees: bool,
    },
    Private(Vec<u8>, ReportBody),
    Files(Vec<(String, Vec<u8>)>, reelmill_common::outcome::ChunkReport),
    Not(Fault),
}

impl Done {
    fn names(&self) -> Vec<NamedFile> {
        match self {
            Self::Files(files, _) => files
                .iter()
                .map(|(name, content)| NamedFile {
                    name: name.clone(),
                    bytes: content.len() as u64,
                    sha256: Sha256::of(content),
                })
                .collect(),
            Self::Private(..) | Self::Not(_) | Self::Look { .. } => Vec::new(),
        }
    }
}
