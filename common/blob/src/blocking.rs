//! Work that would hold up the other tasks of its thread: planning, decoding of large objects, files.

use tokio::runtime::{Handle, RuntimeFlavor};
use tokio::task::JoinError;

/// Runs `work` on a thread of its own. A runtime of one thread does it at once: that is a simulated one, where nothing may
/// depend on how the system schedules threads.
pub async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> Result<T, JoinError> {
    match Handle::current().runtime_flavor() {
        RuntimeFlavor::CurrentThread => Ok(work()),
        _ => tokio::task::spawn_blocking(work).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::thread;

    #[tokio::test(flavor = "multi_thread")]
    async fn other_tasks_are_not_held_up() {
        let here = thread::current().id();
        assert_ne!(blocking(|| thread::current().id()).await.unwrap(), here);
        let failed = blocking(|| panic!("it breaks")).await;
        assert!(failed.is_err_and(|error| error.is_panic()));
    }

    #[tokio::test]
    async fn a_simulated_process_has_one_thread() {
        let here = thread::current().id();
        assert_eq!(blocking(|| thread::current().id()).await.unwrap(), here);
    }
}
