//! A job's record as an object: what is left of a job that was published long ago, beside its folded commits. The
//! package plays on.

use super::{Context, Order};
use crate::catalog::storage;
use bytes::Bytes;
use reelmill_blob::PutOptions;
use reelmill_coordinator_core::{TaskError, TaskOutput};
use reelmill_proto::stored::encode_job;

/// The archived record in the private area.
const RECORD: &str = "record.pb";

/// Writes the record. The machine deletes its key only when this has ended well; a second leader writes the same.
pub(super) async fn archive(context: &Context, order: &Order) -> Result<TaskOutput, TaskError> {
    let place = context.catalog.place(&order.record)?;
    let put = place.work.put_replace(RECORD, Bytes::from(encode_job(&order.record)), PutOptions::default());
    context.switch.around("put_record", put).await.map_err(storage)?;
    Ok(TaskOutput::Archived)
}
