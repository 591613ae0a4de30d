//! A property of the agent machine over networks that lose, repeat and reorder.

use super::*;
use proptest::prelude::*;
use std::collections::BTreeSet;

/// A step of the property: any event, about one of a few attempts, after some time.
fn any_event() -> impl Strategy<Value = (u64, AgentEvent)> {
    let attempt = (1u64..4, 1u64..6).prop_map(|(t, s)| id(t, s));
    let term = 1u64..4;
    let event = prop_oneof![
        1 => Just(AgentEvent::Connected),
        1 => Just(AgentEvent::Disconnected),
        3 => Just(AgentEvent::Tick),
        2 => term.clone().prop_map(welcome),
        1 => (term.clone(), 0u64..9).prop_map(|(t, sequence)| from(t, ToWorker::HeartbeatAck { sequence })),
        3 => (attempt.clone(), any::<bool>())
            .prop_map(|(a, alone)| from(a.term.0, ToWorker::Lease(lease(a, alone)))),
        2 => (attempt.clone(), any::<bool>()).prop_map(|(a, ok)| granted(a, ok)),
        1 => attempt.clone().prop_map(settled),
        1 => attempt.clone().prop_map(|attempt| from(attempt.term.0, ToWorker::Revoke { attempt })),
        3 => attempt.clone().prop_map(Bench::made),
        2 => attempt.clone().prop_map(|attempt| AgentEvent::Uploaded { attempt, report: report() }),
        1 => attempt.prop_map(|attempt| AgentEvent::WorkFailed { attempt, fault: fault(), cost: COST }),
    ];
    (0u64..4_000, event)
}

proptest! {
    #[test]
    fn whatever_the_network_does(steps in proptest::collection::vec(any_event(), 1..120)) {
        let (mut a, mut twin) = (agent(2), agent(2));
        let mut now = Millis(0);
        let (mut started, mut working) = (BTreeSet::new(), BTreeSet::new());
        for (ms, event) in steps {
            now = now.plus(ms);
            match &event {
                AgentEvent::Made { attempt, .. } | AgentEvent::WorkFailed { attempt, .. } => {
                    working.remove(attempt);
                }
                _ => {}
            }
            let before = a.highest_term();
            let fx = a.handle(now, event.clone());
            prop_assert_eq!(&fx, &twin.handle(now, event), "deterministic");
            prop_assert!(a.highest_term() >= before);
            for effect in &fx {
                match effect {
                    AgentEffect::Start(l) => {
                        prop_assert!(started.insert(l.attempt), "{} started twice", l.attempt);
                        working.insert(l.attempt);
                        prop_assert!(working.len() <= 2, "more work than slots");
                    }
                    AgentEffect::Upload { attempt } => {
                        prop_assert!(a.lease_end(*attempt).is_some_and(|end| now < end), "upload past the lease");
                    }
                    AgentEffect::Abort { attempt } => {
                        working.remove(attempt);
                    }
                    AgentEffect::Send(m) => {
                        let hello = matches!(m, FromWorker::Hello(_));
                        prop_assert!(hello || a.is_joined(), "spoke before it was welcomed");
                    }
                    _ => {}
                }
            }
            let (held, unsettled) = a.held();
            prop_assert!(held + unsettled <= 15);
        }
    }
}
