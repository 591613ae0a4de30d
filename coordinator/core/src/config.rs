//! Settings of the machine. Read once; valid by construction where it matters.

use crate::tenants::Tenants;
use reelmill_common::BootId;

/// 30 days, in milliseconds: how long ended jobs and idempotency keys are kept.
pub(crate) const RETAIN_MS: u64 = 30 * 24 * 3_600 * 1_000;

/// What the machine is told once.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct CoordinatorConfig {
    /// A lease ends this long after its worker was last heard of, milliseconds.
    pub lease_ttl_ms: u64,
    /// Workers send heartbeats this often, milliseconds.
    pub heartbeat_ms: u64,
    /// How long an object store may still perform a write it was given, milliseconds: collection waits until lease TTL
    /// plus this has passed since the job was last worked on.
    pub store_timeout_ms: u64,
    /// The worker that shares this process and its end, by its boot: another process never meets it. Only where no other
    /// process can lead while this one lives (the embedded store); `None`: there is no such worker.
    pub own_worker: Option<BootId>,
    /// How long the record of a job that has ended is kept, milliseconds; then it is archived.
    pub retain_ms: u64,
    /// How long a deleted job is still shown as collected, milliseconds, for whoever waits for that; then nothing of it
    /// is left.
    pub tell_collected_ms: u64,
    /// Submits are refused when the state store has used this much of what it may, in thousandths.
    pub state_full_permille: u64,
    /// Encoder failures and wrong outputs a chunk may have.
    pub faults_max: u32,
    /// Workers that may vanish while running a chunk.
    pub losses_max: u32,
    /// Faults in a row after which a worker is suspended.
    pub suspend_after: u32,
    /// How long nobody may be able to make what a rung is bound to before the rung is bound anew, milliseconds.
    pub rebind_after_ms: u64,
    /// How long nobody may be there to say whether an accuser is right before the accuser is believed, milliseconds.
    pub second_voice_ms: u64,
    /// Length of a worker's first suspension, milliseconds; each further one doubles, up to ten times this.
    pub suspend_ms: u64,
    /// Jobs that have not ended, over all tenants. A submit beyond it is refused.
    pub jobs_open_max: usize,
    /// Jobs that have not ended, of one tenant for which nothing else is said. A submit beyond it is refused.
    pub jobs_open_per_tenant_max: usize,
    /// What a chunk of a job that is planned while tenants share the slots may cost at most, predicted slot-milliseconds.
    pub chunk_cost_max_ms: u64,
    /// Operations that may wait for the state store before calls are refused.
    pub queued_ops_max: usize,
    /// What each tenant may have; told anew by [`Event::Tenants`](crate::Event::Tenants).
    pub tenants: Tenants,
}

impl Default for CoordinatorConfig {
    fn default() -> Self {
        Self {
            lease_ttl_ms: 15_000,
            heartbeat_ms: 5_000,
            store_timeout_ms: 60_000,
            own_worker: None,
            retain_ms: RETAIN_MS,
            tell_collected_ms: 600_000,
            state_full_permille: 700,
            faults_max: 3,
            losses_max: 6,
            suspend_after: 3,
            rebind_after_ms: 600_000,
            second_voice_ms: 300_000,
            suspend_ms: 30_000,
            jobs_open_max: 10_000,
            jobs_open_per_tenant_max: 2_000,
            chunk_cost_max_ms: 20_000,
            queued_ops_max: 20_000,
            tenants: Tenants::default(),
        }
    }
}

impl CoordinatorConfig {
    /// How long a new leader waits before it offers chunks that nobody has claimed, milliseconds: not at all where no
    /// worker can have outlived the leader before. A chunk that is offered too early costs time, never truth.
    pub(crate) fn takeover(&self, may_be_claimed: bool) -> u64 {
        if may_be_claimed { self.lease_ttl_ms / 3 } else { 0 }
    }

    /// How long an upload may still land that was allowed until now, milliseconds. `alive`: its worker may go on for as
    /// long as its lease.
    pub(crate) fn uploads_outlive(&self, alive: bool) -> u64 {
        self.store_timeout_ms + if alive { self.lease_ttl_ms } else { 0 }
    }
}

/// The settings, and the bug to run with if this is a build for the simulation.
#[derive(Debug)]
pub(crate) struct Rules {
    config: CoordinatorConfig,
    #[cfg(feature = "sabotage")]
    pub(crate) sabotage: Option<crate::sabotage::Sabotage>,
}

impl Rules {
    pub(crate) fn new(config: CoordinatorConfig) -> Self {
        Self {
            config,
            #[cfg(feature = "sabotage")]
            sabotage: None,
        }
    }
}

impl Rules {
    /// Tenants may have something else from now on.
    pub(crate) fn tenants_are(&mut self, tenants: Tenants) {
        self.config.tenants = tenants;
    }
}

impl std::ops::Deref for Rules {
    type Target = CoordinatorConfig;

    fn deref(&self) -> &CoordinatorConfig {
        &self.config
    }
}
