//! A job's record as an object: what is left of a job that was published long ago, beside its folded commits. The
//! package plays on.

use super::promote::remove_attempts;
use super::{Context, Order};
use crate::archive::RECORD;
use crate::catalog::storage;
use crate::clock::unix_ms;
use bytes::Bytes;
use reelmill_blob::PutOptions;
use reelmill_common::record::ArchiveRecord;
use reelmill_coordinator_core::{TaskError, TaskOutput};
use reelmill_proto::stored::encode_archive;

/// Writes the record. The machine deletes its key only when this has ended well; a second leader writes the same, but for
/// the time.
pub(super) async fn archive(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let record = ArchiveRecord { job: order.record.clone(), archived_unix_ms: unix_ms() };
    let place = context.catalog.place(&order.record)?;
    remove_attempts(context, order, &place).await?;
    let put = place.work.put_replace(RECORD, Bytes::from(encode_archive(&record)), PutOptions::default());
    context.switch.around("put_record", put).await.map_err(storage)?;
    Ok(TaskOutput::Archived)
}
