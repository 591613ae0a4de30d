//! The jobs under way: as many as keep the wanted number of chunks open. Each is counted and deleted when it is done.

use crate::coordinator::Client;
use crate::etcd::Etcd;
use crate::film::Film;
use crate::ledger::{Ledger, held_against};
use anyhow::{Result, ensure};
use reelmill_common::JobId;

/// Commits of a job that are no chunk's: its index and its analysis.
const BEFORE_CHUNKS: usize = 2;

/// One job.
#[derive(Clone, Debug)]
struct Open {
    id: JobId,
    /// Chunks of its plan, once there is one.
    chunks: Option<usize>,
}

/// All of them.
#[derive(Debug)]
pub(crate) struct Jobs {
    film: Film,
    wanted: u64,
    open: Vec<Open>,
    /// Jobs that ever got their plan.
    planned: u64,
    /// Jobs that were counted and deleted.
    pub(crate) deleted: u64,
}

impl Jobs {
    pub(crate) fn new(film: Film, wanted: u64) -> Self {
        Self { film, wanted, open: Vec::new(), planned: 0, deleted: 0 }
    }

    /// Did as many jobs get their plan as hold the wanted number of chunks?
    pub(crate) fn are_planned(&self) -> bool {
        self.planned * u64::from(self.film.0) >= self.wanted
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Chunks of plans that are not acknowledged.
    pub(crate) fn open_chunks(&self, ledger: &Ledger) -> u64 {
        self.open.iter().filter_map(|job| Some(left(job, job.chunks?, ledger))).sum()
    }

    /// The same, and those of plans that are on their way.
    fn expected(&self, ledger: &Ledger) -> u64 {
        let expected = |job: &Open| left(job, job.chunks.unwrap_or(self.film.0 as usize), ledger);
        self.open.iter().map(expected).sum()
    }

    /// Looks after them: submits, counts, deletes.
    pub(crate) async fn tend(
        &mut self,
        client: &mut Client,
        ledger: &Ledger,
        etcd: Option<&Etcd>,
    ) -> Result<()> {
        for job in self.open.iter_mut().filter(|j| j.chunks.is_none()) {
            let found = client.job(&job.id).await?;
            ensure!(found.failure.is_none(), "job {} failed: {:?}", job.id, found.failure);
            job.chunks = found.progress.map(|p| p.chunks_total as usize).filter(|chunks| *chunks > 0);
            self.planned += u64::from(job.chunks.is_some());
        }
        let is_done = |job: &Open| {
            // all but the chunk that nobody finishes
            job.chunks.is_some_and(|chunks| ledger.count(&job.id) + 1 >= chunks + BEFORE_CHUNKS)
        };
        let (done, open): (Vec<Open>, Vec<Open>) = self.open.drain(..).partition(is_done);
        self.open = open;
        for job in done {
            let extra = stored_beyond(&job, client, ledger, etcd).await?;
            ensure!(extra == 0, "{extra} commits of {} are stored that nobody was told of", job.id);
            client.delete(&job.id).await?;
            ledger.close(&job.id);
            self.deleted += 1;
        }
        while self.expected(ledger) < self.wanted {
            self.open.push(Open { id: client.submit().await?, chunks: None });
        }
        Ok(())
    }

    /// Every acknowledged commit of the jobs under way is stored. Gives how many are stored beyond those.
    pub(crate) async fn count(
        &self,
        client: &mut Client,
        ledger: &Ledger,
        etcd: Option<&Etcd>,
    ) -> Result<usize> {
        let mut extra = 0;
        for job in &self.open {
            extra += stored_beyond(job, client, ledger, etcd).await?;
        }
        Ok(extra)
    }
}

fn left(job: &Open, chunks: usize, ledger: &Ledger) -> u64 {
    (chunks + BEFORE_CHUNKS).saturating_sub(ledger.count(&job.id)) as u64
}

/// Of one job. The embedded store lets nobody look into it but its coordinator, so there that is asked.
async fn stored_beyond(
    job: &Open,
    client: &mut Client,
    ledger: &Ledger,
    etcd: Option<&Etcd>,
) -> Result<usize> {
    if let Some(etcd) = etcd {
        let stored = etcd.commits(&job.id).await?;
        // after the look: what is acknowledged meanwhile is missing in neither
        return held_against(&job.id, &ledger.commits(&job.id), &stored);
    }
    let acked = ledger.count(&job.id).saturating_sub(BEFORE_CHUNKS);
    let stored = client.job(&job.id).await?.progress.map_or(0, |p| p.chunks_done as usize);
    ensure!(stored >= acked, "{acked} chunks of {} were acknowledged and {stored} are stored", job.id);
    Ok(stored - acked)
}
