//! The small etcd is held against the suite that a real one passes: our adapter must not see a difference.

use crate::etcd::member::{Cluster, PORT};
use crate::etcd::server;
use crate::sabotage::Bug;
use crate::wire;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use reelmill_coordinator::state::StateError;
use reelmill_coordinator::state::conformance::{self, Contender, Factory, TestState};
use reelmill_coordinator::state::etcd::{EtcdConfig, EtcdState};
use reelmill_tests::sim::rng::Rng;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Each state has a prefix of its own.
struct Small {
    cluster: Arc<Mutex<Cluster>>,
    states: AtomicU64,
}

#[derive(Clone)]
struct Prefix {
    cluster: Arc<Mutex<Cluster>>,
    config: EtcdConfig,
}

impl Factory for Small {
    fn state(&self) -> BoxFuture<'_, Result<Box<dyn TestState>, StateError>> {
        let config = EtcdConfig {
            endpoints: (0..2).map(|n| format!("http://etcd-{n}:{PORT}")).collect(),
            prefix: format!("cell-{}/", self.states.fetch_add(1, Ordering::Relaxed)),
            lease_ttl_s: 2,
            poll_ms: 20,
            ..EtcdConfig::default()
        };
        let state = Prefix { cluster: Arc::clone(&self.cluster), config };
        ready(Ok(Box::new(state) as Box<dyn TestState>)).boxed()
    }
}

impl TestState for Prefix {
    fn contender(&self) -> BoxFuture<'_, Result<Box<dyn Contender>, StateError>> {
        async {
            let state = EtcdState::connect_by(self.config.clone(), wire::channel).await?;
            Ok(Box::new(state) as Box<dyn Contender>)
        }
        .boxed()
    }

    fn depose(&self) -> BoxFuture<'_, Result<(), StateError>> {
        let mut cluster = self.cluster.lock().unwrap_or_else(PoisonError::into_inner);
        cluster.store.depose(&self.config.prefix, false);
        ready(Ok(())).boxed()
    }

    fn restart(self: Box<Self>) -> BoxFuture<'static, Result<Option<Box<dyn TestState>>, StateError>> {
        ready(Ok(Some(self as Box<dyn TestState>))).boxed()
    }
}

/// Runs the suite in a network without faults; what does not conform, if anything.
pub(crate) fn run() -> Result<(), String> {
    let cluster = Cluster::new(2, Bug::None, Rng::new(1));
    let mut sim = turmoil::Builder::new()
        .simulation_duration(Duration::from_secs(3_600))
        .max_message_latency(Duration::from_millis(5))
        .build();
    for number in 0..2 {
        let cluster = Arc::clone(&cluster);
        sim.host(format!("etcd-{number}"), move || server::run(Arc::clone(&cluster)));
    }
    sim.client(
        "suite",
        async move { Ok(conformance::run(&Small { cluster, states: AtomicU64::new(0) }).await?) },
    );
    sim.run().map_err(|error| error.to_string())
}
