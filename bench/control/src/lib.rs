//! Measures the control plane alone: a real `reelmill coordinator` over a real etcd (or its embedded store), thousands of
//! worker connections, and nobody who encodes.
//!
//! **Real:** both processes, their state on disk, a TCP connection a worker, the gRPC messages, the worker's agent with its
//! re-attachment and repetition, planning, the report that each outcome carries, every check and every durable write.
//! **Not real:** ffmpeg (a drawn time passes instead), media and report objects of chunks (nothing is uploaded; the
//! coordinator reads them when a job is published), and the end of a job: its last chunk is never finished, and once all
//! others are acknowledged and counted, the job is cancelled and deleted, which removes the same records as publishing does.
//!
//! An acknowledgement is a worker's `Settled(won)`. Those of each job are held against what `etcdctl` finds: when the job
//! is done with, after every kill, and at the end.

mod coordinator;
mod etcd;
mod figures;
mod film;
mod histogram;
mod jobs;
mod ledger;
mod process;
mod run;
mod worker;

pub use figures::{Figures, Killed};
pub use run::{Options, run};
