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
    /// A worker that has heard of a higher term is welcomed.
    HigherTermIgnored,
    /// Manifests are built when one chunk is still open.
    PublishBeforeLastCommit,
    /// A Retry forgets what was committed.
    RetryForgetsCommits,
    /// A fault that an older leader may have counted is counted again.
    OldFaultCountsAgain,
    /// A new leader starts all budgets afresh.
    BudgetNotDurable,
    /// Work that was handed back counts as failed.
    AbandonedCounts,
    /// Uploads are granted to attempts that have ended.
    DoubleGrant,
    /// Tenants are served in the order of their names.
    FairnessOff,
    /// Idempotency keys are not looked up.
    IdempotencyOff,
    /// Needs are not compared with capabilities.
    NeedsIgnored,
    /// A worker gets as many leases as it asks for.
    SlotsIgnored,
    /// An attempt whose lease ran out keeps its chunk.
    LeaseNeverExpires,
    /// Leases are measured with the wall clock.
    LeaseByWallClock,
    /// The attempt that was committed is told that it lost when it reports again.
    WinnerForgotten,
    /// Collection does not wait for uploads that may still be on their way.
    CollectAtOnce,
    /// Workers of other processes are given work without a word in the store.
    OutsideNotRecorded,
    /// A build that does not give what a rung is bound to gets more work of it.
    UnableForgotten,
    /// A build that gives another decoder configuration is counted as a fault of the chunk.
    OtherBindingCounts,
    /// A rung that was bound anew keeps what was committed of it before.
    RebindKeepsCommits,
    /// Jobs are published without a second look.
    PublishedUnaudited,
    /// Whoever made something may look at it, too, whoever else is there.
    MakerAuditsItself,
    /// What was found wrong stays committed.
    WrongStaysCommitted,
    /// Who says that a file is wrong is asked again.
    AccuserAskedAgain,
    /// One accuser is believed where nobody else is here just now.
    LoneAccuserBelieved,
    /// A damaged film is indexed anew as often as it is found damaged.
    IndexedForEver,
}

impl Sabotage {
    /// All of them.
    pub const ALL: [Self; 29] = [
        Self::CommitWithoutLiveness,
        Self::EffectBeforeWrite,
        Self::UnknownTakenAsFailed,
        Self::FencedIgnored,
        Self::HigherTermIgnored,
        Self::PublishBeforeLastCommit,
        Self::RetryForgetsCommits,
        Self::OldFaultCountsAgain,
        Self::BudgetNotDurable,
        Self::AbandonedCounts,
        Self::DoubleGrant,
        Self::FairnessOff,
        Self::IdempotencyOff,
        Self::NeedsIgnored,
        Self::SlotsIgnored,
        Self::LeaseNeverExpires,
        Self::LeaseByWallClock,
        Self::WinnerForgotten,
        Self::CollectAtOnce,
        Self::OutsideNotRecorded,
        Self::UnableForgotten,
        Self::OtherBindingCounts,
        Self::RebindKeepsCommits,
        Self::PublishedUnaudited,
        Self::MakerAuditsItself,
        Self::WrongStaysCommitted,
        Self::AccuserAskedAgain,
        Self::LoneAccuserBelieved,
        Self::IndexedForEver,
    ];
}
