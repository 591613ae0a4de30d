//! One-line bugs that the simulation must find. Compiled only with the feature `sabotage`.

/// A bug of the control machine.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Sabotage {
    /// An outcome is committed whether or not its attempt is live.
    CommitWithoutLiveness,
    /// Effects leave before their write is acknowledged.
    EffectBeforeWrite,
    /// A write of unknown fate is taken as one that was refused.
    UnknownTakenAsFailed,
    /// A batch refused by the guard is taken as written: the deposed leader goes on.
    FencedIgnored,
    /// A Hello that has heard of a higher term is accepted.
    HigherTermIgnored,
    /// Messages on a session that was replaced are obeyed.
    OldSessionObeyed,
    /// Manifests are built when one chunk is still open.
    PublishBeforeLastCommit,
    /// A Retry forgets what was committed.
    RetryForgetsCommits,
    /// A loss is counted when a worker was only drained or the leader changed.
    LeaderChangeCountsAsLoss,
    /// Budgets live in memory only: a new leader starts them afresh.
    BudgetNotDurable,
    /// Uploads are granted to attempts that have ended.
    DoubleGrant,
    /// Tenants are served in the order of their jobs.
    FairnessOff,
    /// Running attempts of a new leader's workers are not adopted and nobody is waited for.
    NoAdoption,
    /// Idempotency keys are not looked up.
    IdempotencyOff,
    /// Needs are not compared with capabilities.
    NeedsIgnored,
    /// An attempt whose lease ran out keeps its chunk.
    LeaseNeverExpires,
    /// A committed spec's repeated report is committed again.
    CommitTwice,
    /// A settled verdict is sent once and never again.
    SettledOnce,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 18] = [
        Self::CommitWithoutLiveness,
        Self::EffectBeforeWrite,
        Self::UnknownTakenAsFailed,
        Self::FencedIgnored,
        Self::HigherTermIgnored,
        Self::OldSessionObeyed,
        Self::PublishBeforeLastCommit,
        Self::RetryForgetsCommits,
        Self::LeaderChangeCountsAsLoss,
        Self::BudgetNotDurable,
        Self::DoubleGrant,
        Self::FairnessOff,
        Self::NoAdoption,
        Self::IdempotencyOff,
        Self::NeedsIgnored,
        Self::LeaseNeverExpires,
        Self::CommitTwice,
        Self::SettledOnce,
    ];
}
