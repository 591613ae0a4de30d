//! A coordinator's sessions: leases and messages out, messages and checked outcomes in, and what silence proves.

use super::net::ConnId;
use super::world::World;
use reelmill_common::outcome::{Fault, FaultKind, Outcome};
use reelmill_common::session::{FromWorker, Hello, Lease, ReadGrant, Termed, ToWorker, WriteGrant};
use reelmill_common::spec::{IndexSpec, WorkItem};
use reelmill_common::{AttemptId, FencingTerm};
use reelmill_coordinator_core::{Coordinator, Event, LeaseOrder, SessionId};

impl World {
    pub(super) fn send_lease(&mut self, c: usize, order: LeaseOrder) {
        self.trace.tell(self.now_ms, c, || format!("leases {order:?}"));
        self.law_of_lease(c, &order);
        self.laws.leased(&order.job, order.spec, order.attempt);
        if order.alone {
            self.tally.count("lease: alone");
        }
        let Some(conn) = self.controls[c].conns.get(&order.session).copied() else {
            return self.laws.may_be_lost(order.attempt, None);
        };
        self.controls[c].leases.entry(order.session).or_default().insert(order.attempt);
        match self.conns.get(&conn).copied() {
            Some(conn) if self.workers[conn.worker].life == conn.worker_life => {
                self.workers[conn.worker].leased.insert(order.attempt);
            }
            // leased to a worker that is dead already, as its next Hello will show
            _ => self.laws.may_be_lost(order.attempt, None),
        }
        self.note("lease: offered", c, order.attempt.sequence);
        let url = format!("model:///{}", order.job);
        let item = IndexSpec { location: url.clone(), salt: order.spec.to_string(), decode: false };
        let lease = Lease {
            attempt: order.attempt,
            spec: order.spec,
            job: order.job,
            item: WorkItem::Index(item),
            source: ReadGrant { url: url.clone(), signed: None, bytes: None, version: None },
            output: WriteGrant { package: url.clone(), work: url, own: false, signed: false },
            audited: None,
            decoder_threads: 1,
            alone: order.alone,
        };
        self.send_to_worker(conn, Termed { term: order.term, message: ToWorker::Lease(Box::new(lease)) });
    }

    pub(super) fn send(&mut self, c: usize, session: SessionId, term: FencingTerm, message: ToWorker) {
        self.trace.tell(self.now_ms, c, || format!("{term:?} says {message:?} on {session:?}"));
        self.law_of_message(c, term, &message);
        let over = match &message {
            ToWorker::Settled { attempt, .. } | ToWorker::Revoke { attempt } => Some(*attempt),
            _ => None,
        };
        if let Some(attempt) = over {
            self.controls[c].leases.entry(session).or_default().remove(&attempt);
        }
        if let Some(conn) = self.controls[c].conns.get(&session).copied() {
            self.send_to_worker(conn, Termed { term, message });
        }
    }

    /// A worker's message arrives.
    pub(super) fn control_hears(&mut self, id: ConnId, message: FromWorker) {
        let Some(conn) = self.conns.get(&id).copied() else { return };
        let c = conn.control;
        if self.controls[c].life != conn.control_life || self.cut.contains_key(&(conn.worker, c)) {
            return;
        }
        self.trace.tell(self.now_ms, c, || format!("hears from worker {}: {message:?}", conn.worker));
        let control = &mut self.controls[c];
        let session = control.sessions_by_conn.get(&id).copied();
        if session.is_some() || matches!(message, FromWorker::Hello(_)) {
            control.heard_ms.insert(conn.worker, self.now_ms);
        }
        match (message, session) {
            (FromWorker::Hello(hello), session) => self.hello(c, id, session, hello),
            (_, None) => {}
            (FromWorker::Outcome { attempt, job, spec, outcome }, Some(session)) => {
                self.tally.count("heard: outcome");
                if let Some(leases) = self.controls[c].leases.get_mut(&session) {
                    // its worker works on it no more; what it is told of it waits until that is durable
                    leases.remove(&attempt);
                }
                let outcome = Box::new(self.checked(attempt, *outcome));
                self.hears_accuser(c, session, attempt, (&job, spec), &outcome);
                self.feed(c, Event::OutcomeChecked { session, attempt, job, spec, outcome });
            }
            (FromWorker::Grant { attempt, files }, Some(session)) => {
                if let Some(leases) = self.controls[c].leases.get_mut(&session) {
                    // from here on the attempt takes no slot
                    leases.remove(&attempt);
                }
                self.feed(c, Event::WorkerSaid { session, message: FromWorker::Grant { attempt, files } });
            }
            (message, Some(session)) => self.feed(c, Event::WorkerSaid { session, message }),
        }
    }

    fn hello(&mut self, c: usize, id: ConnId, session: Option<SessionId>, mut hello: Hello) {
        self.tally.count("heard: hello");
        let session = session.unwrap_or_else(|| {
            let control = &mut self.controls[c];
            control.last_session += 1;
            let session = SessionId(control.last_session);
            control.conns.insert(session, id);
            control.sessions_by_conn.insert(id, session);
            session
        });
        self.controls[c].told.insert(session, hello.capability.clone());
        // it was away, however shortly
        self.controls[c].auditors.remove(&hello.worker);
        if !hello.running.is_empty() {
            self.tally.count("heard: hello with running attempts");
        }
        if !hello.unsettled.is_empty() {
            self.tally.count("heard: hello with unsettled outcomes");
        }
        for (attempt, _, _, outcome) in &mut hello.unsettled {
            *outcome = self.checked(*attempt, outcome.clone());
        }
        let highest = hello.highest_term;
        self.feed(c, Event::WorkerConnected { session, hello: Box::new(hello) });
        let term = self.controls[c].machine.as_ref().and_then(Coordinator::term);
        if term.is_some_and(|t| t < highest) {
            self.laws.breach(format!("{term:?} goes on although {highest:?} was heard of"));
        }
    }

    /// The check of a report against its spec: finds what is wrong.
    fn checked(&mut self, attempt: AttemptId, outcome: Outcome) -> Outcome {
        if matches!(outcome, Outcome::Done(_)) && self.laws.wrong.contains(&attempt) {
            self.tally.count("outcome: found wrong");
            let message = "a frame is missing".to_owned();
            let fault = Fault { kind: FaultKind::Output, message, detail: String::new() };
            return Outcome::Failed { fault, cost: outcome.cost() };
        }
        outcome
    }

    /// The coordinator's end of a connection is gone.
    pub(super) fn control_cut_off(&mut self, id: ConnId) {
        let Some(c) = self.conns.get(&id).map(|conn| conn.control) else { return };
        let Some(session) = self.controls[c].sessions_by_conn.remove(&id) else { return };
        self.controls[c].conns.remove(&session);
        self.controls[c].leases.remove(&session);
        self.controls[c].told.remove(&session);
        self.note("control: session gone", c, session.0);
        self.feed(c, Event::WorkerDisconnected { session });
    }

    /// A leader that has not heard of a worker for a lease may take its attempts as lost.
    pub(super) fn silence_is_evidence(&mut self, c: usize) {
        let ttl_ms = self.scenario.config.lease_ttl_ms;
        for w in 0..self.workers.len() {
            let heard = self.controls[c].heard_ms.get(&w).copied().unwrap_or(0);
            if self.now_ms - heard >= ttl_ms - 100 {
                self.evidence(w, self.controls[c].term);
            }
        }
    }

    /// Whatever a worker holds may be counted as lost.
    pub(super) fn evidence(&mut self, w: usize, by: Option<FencingTerm>) {
        for attempt in self.workers[w].leased.clone() {
            self.laws.may_be_lost(attempt, by);
        }
    }
}
