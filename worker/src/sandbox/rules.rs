//! Landlock: the files a child may use, and the one port, as far as the kernel can hold it to that.

use super::handover::Refusal;
use landlock::{
    ABI, Access as _, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible as _, NetPort, PathBeneath,
    PathFd, Ruleset, RulesetAttr as _, RulesetCreated, RulesetCreatedAttr as _, RulesetStatus, Scope,
};
use reelmill_worker_core::sandbox::orders::{Orders, Reach};
use std::path::Path;

/// The newest Landlock these rules are written for; an older kernel enforces what it knows of it.
const KNOWN: ABI = ABI::V7;

/// Rules on opened files, not yet enforced.
pub(super) struct Rules(RulesetCreated);

impl Rules {
    /// Opens every path of the orders.
    pub(super) fn open(orders: &Orders) -> Result<Self, Refusal> {
        let all = AccessFs::from_all(KNOWN);
        let failed = |e: landlock::RulesetError| Refusal::step("no Landlock rules", e);
        let mut rules = Ruleset::default()
            .set_compatibility(CompatLevel::BestEffort)
            .handle_access(all)
            .and_then(|r| r.handle_access(AccessNet::from_all(KNOWN)))
            .and_then(|r| r.scope(Scope::from_all(KNOWN)))
            .and_then(Ruleset::create)
            .map_err(failed)?;
        let read = AccessFs::ReadFile | AccessFs::ReadDir;
        for path in &orders.read {
            rules = beneath(rules, path, read)?;
        }
        for path in &orders.execute {
            rules = beneath(rules, path, read | AccessFs::Execute)?;
        }
        let files = AccessFs::WriteFile
            | AccessFs::Truncate
            | AccessFs::MakeReg
            | AccessFs::MakeDir
            | AccessFs::RemoveFile
            | AccessFs::RemoveDir;
        rules = beneath(rules, &orders.write, read | files)?;
        rules = beneath(rules, Path::new("/dev/null"), read | AccessFs::WriteFile)?;
        let port = match orders.reach {
            Reach::Nothing => None,
            Reach::Own => Some(reelmill_worker_core::sandbox::orders::SERVED_PORT),
            Reach::Port(port) => Some(port),
        };
        if let Some(port) = port {
            rules = rules.add_rule(NetPort::new(port, AccessNet::ConnectTcp)).map_err(failed)?;
        }
        Ok(Self(rules))
    }

    /// Holds this process to them, and what it becomes.
    pub(super) fn enforce(self) -> Result<(), Refusal> {
        let status = self.0.restrict_self().map_err(|e| Refusal::step("Landlock was not enforced", e))?;
        match status.ruleset {
            RulesetStatus::NotEnforced => Err(Refusal::Box("the kernel has no Landlock".to_owned())),
            RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        }
    }
}

fn beneath(
    rules: RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<RulesetCreated, Refusal> {
    let failed = |e: &dyn std::error::Error| Refusal::step(&format!("no rule for {}", path.display()), e);
    let opened = PathFd::new(path).map_err(|e| failed(&e))?;
    // rights of folders mean nothing for a file
    let access = if path.is_dir() { access } else { access & AccessFs::from_file(KNOWN) };
    rules.add_rule(PathBeneath::new(opened, access)).map_err(|e| failed(&e))
}
