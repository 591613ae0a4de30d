//! The network between workers and coordinators: connections whose messages are late, lost, doubled or overtaken, and
//! which break without both ends learning it at the same time.

use super::world::{What, World};
use reelmill_common::session::{FromWorker, Termed, ToWorker};

/// Names a connection.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub(super) struct ConnId(pub u64);

/// A connection a worker has opened.
#[derive(Clone, Copy, Debug)]
pub(super) struct Conn {
    /// Whose.
    pub(super) worker: usize,
    /// Which life of it.
    pub(super) worker_life: u64,
    /// To whom.
    pub(super) control: usize,
    /// Which life of it.
    pub(super) control_life: u64,
    /// Arrival of the last message each way: the order is kept, but for accidents.
    last: [u64; 2],
}

impl World {
    /// A worker opens a connection, if the other end is there.
    pub(super) fn connect(&mut self, worker: usize, control: usize) -> Option<ConnId> {
        if !self.controls[control].alive || self.cut.contains_key(&(worker, control)) {
            return None;
        }
        self.last_conn += 1;
        let id = ConnId(self.last_conn);
        let conn = Conn {
            worker,
            worker_life: self.workers[worker].life,
            control,
            control_life: self.controls[control].life,
            last: [0; 2],
        };
        self.conns.insert(id, conn);
        self.note("net: connected", worker, id.0);
        Some(id)
    }

    /// When a message arrives: none, one or two times.
    fn arrivals(&mut self, id: ConnId, way: usize) -> Vec<u64> {
        let Some(conn) = self.conns.get(&id).copied() else { return vec![] };
        if self.cut.contains_key(&(conn.worker, conn.control)) {
            self.tally.count("net: lost in a cut link");
            return vec![];
        }
        if self.rng.chance(self.chances.drop) {
            self.tally.count("net: dropped");
            return vec![];
        }
        let mut at = self.now_ms + self.rng.range(1, self.chances.latency_ms);
        if self.rng.chance(self.chances.reorder) {
            self.tally.count("net: reordered");
        } else if self.rng.chance(self.chances.late) {
            self.tally.count("net: late");
            at += self.rng.range(500, 10_000);
        } else {
            at = at.max(conn.last[way] + 1);
            if let Some(conn) = self.conns.get_mut(&id) {
                conn.last[way] = at;
            }
        }
        let mut times = vec![at];
        if self.rng.chance(self.chances.duplicate) {
            self.tally.count("net: duplicated");
            times.push(at + self.rng.range(1, 3_000));
        }
        times
    }

    /// A worker says something.
    pub(super) fn send_to_control(&mut self, id: ConnId, message: FromWorker) {
        for at in self.arrivals(id, 0) {
            self.after(at - self.now_ms, What::ToControl(id, Box::new(message.clone())));
        }
    }

    /// A coordinator says something.
    pub(super) fn send_to_worker(&mut self, id: ConnId, message: Termed<ToWorker>) {
        let Some(conn) = self.conns.get(&id).copied() else { return };
        for at in self.arrivals(id, 1) {
            self.after(at - self.now_ms, What::ToWorker(conn, Box::new(message.clone())));
        }
    }

    /// A connection is closed by one end; the other learns it soon.
    pub(super) fn close(&mut self, id: ConnId) {
        if self.conns.contains_key(&id) {
            self.soon(50, What::ControlCutOff(id));
            self.soon(50, What::WorkerCutOff(id));
        }
    }

    /// A cut link: both ends find out some time, or never.
    pub(super) fn break_conns_between(&mut self, worker: usize, control: usize) {
        let broken: Vec<ConnId> = self
            .conns
            .iter()
            .filter(|(_, c)| (c.worker, c.control) == (worker, control))
            .map(|(id, _)| *id)
            .collect();
        for id in broken {
            if self.rng.chance(600) {
                self.soon(8_000, What::ControlCutOff(id));
            }
            if self.rng.chance(600) {
                self.soon(8_000, What::WorkerCutOff(id));
            }
        }
    }

    /// Connections of a process that died.
    pub(super) fn close_all(&mut self, of: impl Fn(&super::net::Conn) -> bool) {
        let ids: Vec<ConnId> = self.conns.iter().filter(|(_, c)| of(c)).map(|(id, _)| *id).collect();
        ids.into_iter().for_each(|id| self.close(id));
    }

    /// A message or a break arrives.
    pub(super) fn net_event(&mut self, what: What) {
        match what {
            What::ToControl(id, message) => self.control_hears(id, *message),
            What::ToWorker(conn, message) => self.worker_hears(conn, *message),
            What::ControlCutOff(id) => {
                self.control_cut_off(id);
                self.forget_conn(id);
            }
            What::WorkerCutOff(id) => {
                self.worker_cut_off(id);
                self.forget_conn(id);
            }
            _ => {}
        }
    }

    /// Drops a connection that neither end uses any more.
    fn forget_conn(&mut self, id: ConnId) {
        let Some(conn) = self.conns.get(&id) else { return };
        let used = self.workers[conn.worker].conn == Some(id)
            || self.controls[conn.control].sessions_by_conn.contains_key(&id);
        if !used {
            self.conns.remove(&id);
        }
    }
}
