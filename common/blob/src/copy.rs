//! Copies within a store: the bytes never come here.
//!
//! How a package comes to its final names where the store cannot create a name only once: an attempt writes under a name
//! of its own, and what was committed is copied. Type and cache headers go with the object: no store is asked to replace
//! them, and [`crate::proof`] looks whether they arrive.

use crate::blobs::Blobs;
use crate::error::{BlobError, BlobErrorKind};
use object_store::ObjectStoreExt as _;
use std::sync::Arc;

impl Blobs {
    /// Can objects be copied from `other` to here without reading them?
    pub fn is_in_one_store_with(&self, other: &Self) -> bool {
        Arc::ptr_eq(self.store(), other.store())
    }

    /// Makes `name` what `from_name` of `from` is (so many bytes), whatever was there before; at once for every reader.
    /// Done twice, it does the same. What is not there any more is [`BlobErrorKind::NotFound`].
    pub async fn copy_from(
        &self,
        name: &str,
        from: &Self,
        from_name: &str,
        bytes: u64,
    ) -> Result<(), BlobError> {
        if !self.is_in_one_store_with(from) {
            let message = format!("cannot copy from {} to {}: they are two stores", from.root(), self.root());
            return Err(BlobError::new(BlobErrorKind::Invalid, message));
        }
        let (source, target, what) = (from.path(from_name)?, self.path(name)?, from.shown(from_name));
        self.policy()
            .retry(|_| {
                self.policy().limit(bytes, "copy", &what, async {
                    let copied = self.store().copy(&source, &target).await;
                    copied.map_err(|error| BlobError::from_store(error, "copy", &what))
                })
            })
            .await
    }
}
