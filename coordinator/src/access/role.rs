//! What a caller may do, and what each method and route asks for: the one table of rights.
//!
//! A method that is not in the table is refused; `access/tests` holds the table against every method that is served.

use std::fmt;

/// What a token is for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum Role {
    /// The jobs of one tenant.
    Submit,
    /// The jobs of all tenants, the fleet, metrics.
    Operate,
    /// A worker's session.
    Worker,
    /// To let one worker join: it gets a credential of its own.
    Enrol,
    /// To read metrics.
    Metrics,
}

impl Role {
    /// All of them.
    pub const ALL: [Self; 5] = [Self::Submit, Self::Operate, Self::Worker, Self::Enrol, Self::Metrics];

    /// As the access file and the command line name it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Submit => "submit",
            Self::Operate => "operate",
            Self::Worker => "worker",
            Self::Enrol => "enrol",
            Self::Metrics => "metrics",
        }
    }

    /// The role of that name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.name() == name)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// What a method or route asks of its caller.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Need {
    /// Nothing: it tells no secret.
    Nothing,
    /// To be somebody.
    Anybody,
    /// Jobs, as far as the caller's tenant reaches.
    Jobs,
    /// To see and steer workers.
    Fleet,
    /// To work.
    Work,
    /// To join, or to renew what a worker joined with.
    Join,
    /// To read metrics.
    Metrics,
}

impl Need {
    /// May this role do it?
    pub(crate) fn allows(self, role: Role) -> bool {
        match self {
            Self::Nothing | Self::Anybody => true,
            Self::Jobs => matches!(role, Role::Submit | Role::Operate),
            Self::Fleet => role == Role::Operate,
            Self::Work => role == Role::Worker,
            Self::Join => matches!(role, Role::Enrol | Role::Worker),
            Self::Metrics => matches!(role, Role::Metrics | Role::Operate),
        }
    }

    /// Whom it would let in, in words.
    pub(crate) fn roles(self) -> String {
        let names: Vec<&str> = Role::ALL.into_iter().filter(|r| self.allows(*r)).map(Role::name).collect();
        names.join(" or ")
    }
}

/// Every gRPC method that is served. A name that ends with `/` stands for all methods of its service.
pub(crate) const METHODS: [(&str, Need); 14] = [
    ("/grpc.health.v1.Health/", Need::Nothing),
    ("/grpc.reflection.v1.ServerReflection/", Need::Anybody),
    ("/reelmill.jobs.v1.Jobs/Submit", Need::Jobs),
    ("/reelmill.jobs.v1.Jobs/Get", Need::Jobs),
    ("/reelmill.jobs.v1.Jobs/List", Need::Jobs),
    ("/reelmill.jobs.v1.Jobs/Watch", Need::Jobs),
    ("/reelmill.jobs.v1.Jobs/Cancel", Need::Jobs),
    ("/reelmill.jobs.v1.Jobs/Retry", Need::Jobs),
    ("/reelmill.jobs.v1.Jobs/Explain", Need::Jobs),
    ("/reelmill.jobs.v1.Jobs/Delete", Need::Jobs),
    ("/reelmill.worker.v1.Workers/Session", Need::Work),
    ("/reelmill.worker.v1.Workers/Enrol", Need::Join),
    ("/reelmill.worker.v1.Fleet/List", Need::Fleet),
    ("/reelmill.worker.v1.Fleet/Revoke", Need::Fleet),
];

/// What a gRPC method asks for; `None`: it is not served.
pub(crate) fn of_method(path: &str) -> Option<Need> {
    let is_it = |rule: &str| if rule.ends_with('/') { path.starts_with(rule) } else { path == rule };
    METHODS.into_iter().find(|(rule, _)| is_it(rule)).map(|(_, need)| need)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn every_method_has_a_rule_and_every_rule_a_method() {
        let served = reelmill_proto::methods();
        for method in &served {
            assert!(of_method(method).is_some_and(|need| need != Need::Nothing), "{method} is in no table");
        }
        let ours: BTreeSet<String> = METHODS
            .iter()
            .map(|(rule, _)| (*rule).to_owned())
            .filter(|rule| rule.starts_with("/reelmill."))
            .collect();
        assert_eq!(ours, served);
        for other in [
            "/reelmill.jobs.v1.Jobs/",
            "/reelmill.jobs.v1.Jobs/Grant",
            "/",
            "",
            "/grpc.health.v1.Health2/Check",
        ] {
            assert_eq!(of_method(other), None, "{other}");
        }
    }

    #[test]
    fn names_are_read_back() {
        for role in Role::ALL {
            assert_eq!(Role::parse(role.name()), Some(role));
        }
        assert_eq!(Need::Metrics.roles(), "operate or metrics");
    }
}
