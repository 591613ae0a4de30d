//! What was seen when a box was tried from the inside, which box that makes it, and what to do about a weaker one.

use super::Level;

/// Something that a child should not be able to do.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug)]
pub enum Deed {
    /// Reach a listener other than its own by TCP.
    Tcp,
    /// Send a datagram to a port of this machine.
    Udp,
    /// Connect to a socket in the file system.
    Unix,
    /// Read a file that is neither its source nor part of its program.
    Read,
    /// Write outside of its directory.
    Write,
    /// Signal a process that is not its own.
    Signal,
}

impl Deed {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::Tcp, Self::Udp, Self::Unix, Self::Read, Self::Write, Self::Signal];

    /// Stable name, in which the prover reports.
    pub fn name(self) -> &'static str {
        match self {
            Self::Tcp => "tcp",
            Self::Udp => "udp",
            Self::Unix => "unix",
            Self::Read => "read",
            Self::Write => "write",
            Self::Signal => "signal",
        }
    }

    /// What it means that it is possible.
    pub fn means(self) -> &'static str {
        match self {
            Self::Tcp => "ffmpeg can open TCP connections while it is served its source",
            Self::Udp => "ffmpeg can send datagrams while it is served its source",
            Self::Unix => "ffmpeg can connect to sockets of other programs",
            Self::Read => "ffmpeg can read every file that the worker can",
            Self::Write => "ffmpeg can write every file that the worker can",
            Self::Signal => "ffmpeg can signal other processes of the worker's user",
        }
    }

    /// Must a box of this level have stopped it?
    pub fn is_stopped_by(self, level: Level) -> bool {
        match self {
            Self::Tcp => level.has_network(),
            Self::Udp | Self::Unix => level > Level::Basic,
            Self::Read | Self::Write => level.has_files(),
            // Landlock knows signals since Linux 6.12: a gap that is told, not a reason to have no box
            Self::Signal => false,
        }
    }
}

/// What the prover saw.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Findings {
    /// What it could do all the same.
    pub done: Vec<Deed>,
    /// It was served what it should be.
    pub is_served: bool,
}

impl Findings {
    /// Reads the prover's lines: `stopped tcp`, `done udp`, `served`.
    ///
    /// # Errors
    /// What is wrong with them: a proof that is not whole proves nothing.
    pub fn read(lines: &[String]) -> Result<Self, String> {
        let is_served = lines.iter().any(|l| l == "served");
        let mut done = Vec::new();
        for deed in Deed::ALL {
            let said = |how: &str| lines.iter().any(|l| l.strip_prefix(how) == Some(deed.name()));
            match (said("stopped "), said("done ")) {
                (true, false) => {}
                (false, true) => done.push(deed),
                _ => return Err(format!("the proof does not say whether {} was stopped", deed.name())),
            }
        }
        Ok(Self { done, is_served })
    }

    /// Are these the findings of a box of this level?
    ///
    /// # Errors
    /// Why they are not.
    pub fn judge(&self, level: Level) -> Result<(), String> {
        if !self.is_served {
            return Err("the source could not be served into the box".to_owned());
        }
        match self.done.iter().find(|deed| deed.is_stopped_by(level)) {
            Some(deed) => Err(deed.means().to_owned()),
            None => Ok(()),
        }
    }
}

/// What is known of the machine when a box is weaker than it could be.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Facts {
    /// `kernel.apparmor_restrict_unprivileged_userns` is 1.
    pub apparmor_restricts: bool,
    /// `user.max_user_namespaces` is 0, or `kernel.unprivileged_userns_clone` is.
    pub namespaces_off: bool,
    /// The process runs in a container.
    pub in_container: bool,
    /// The kernel has Landlock.
    pub has_landlock: bool,
}

/// What a person can do to get from `level` to the full box, most telling first.
pub fn advice(level: Level, facts: Facts) -> Vec<&'static str> {
    let mut all = Vec::new();
    if !level.has_network() {
        if facts.apparmor_restricts {
            all.push(
                "AppArmor restricts user namespaces: sysctl kernel.apparmor_restrict_unprivileged_userns=0, or an \
                 AppArmor profile with `userns,` for reelmill",
            );
        }
        if facts.namespaces_off {
            all.push(
                "user namespaces are off: sysctl user.max_user_namespaces=10000 (on Debian also \
                 kernel.unprivileged_userns_clone=1)",
            );
        }
        if facts.in_container {
            all.push(
                "this is a container: its seccomp profile must allow unshare(2) with user and network namespaces",
            );
        }
        if all.is_empty() {
            all.push("the kernel makes no user and network namespaces for this user");
        }
    }
    if !level.has_files() {
        all.push(match facts.has_landlock {
            false => "the kernel has no Landlock: use Linux 5.13 or newer with `landlock` in its list of LSMs (lsm=)",
            true => "if ffmpeg needs folders of its own, name them with --sandbox-path",
        });
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(done: &[Deed], served: bool) -> Vec<String> {
        let told = |d: &Deed| format!("{} {}", if done.contains(d) { "done" } else { "stopped" }, d.name());
        Deed::ALL.iter().map(told).chain(served.then(|| "served".to_owned())).collect()
    }

    #[test]
    fn each_level_is_what_was_seen_and_no_more() {
        use Deed::{Read, Signal, Tcp, Udp, Unix, Write};
        let cases: [(&[Deed], &[Level]); 7] = [
            (&[], &Level::ALL),
            (&[Signal], &Level::ALL),
            (&[Tcp, Signal], &[Level::Landlock, Level::Basic]),
            (&[Read], &[Level::Namespace, Level::Basic]),
            (&[Write], &[Level::Namespace, Level::Basic]),
            (&[Udp], &[Level::Basic]),
            (&[Unix, Tcp, Read, Write], &[Level::Basic]),
        ];
        for (done, levels) in cases {
            let findings = Findings::read(&lines(done, true)).unwrap();
            let held: Vec<_> = Level::ALL.into_iter().filter(|l| findings.judge(*l).is_ok()).collect();
            assert_eq!(held, levels, "{done:?}");
        }
        let unserved = Findings::read(&lines(&[], false)).unwrap();
        assert!(Level::ALL.iter().all(|l| unserved.judge(*l).is_err()));
    }

    #[test]
    fn a_proof_with_a_hole_is_none() {
        for hole in 0..Deed::ALL.len() {
            let mut told = lines(&[], true);
            told.remove(hole);
            assert!(Findings::read(&told).is_err(), "{told:?}");
        }
        let both = [lines(&[], true), lines(&[Deed::Tcp], true)].concat();
        assert!(Findings::read(&both).is_err());
    }

    #[test]
    fn a_weaker_box_comes_with_what_to_do() {
        let good = Facts { has_landlock: true, ..Facts::default() };
        assert_eq!(advice(Level::Full, good), Vec::<&str>::new());
        let ubuntu = advice(Level::Landlock, Facts { apparmor_restricts: true, ..good });
        assert!(
            ubuntu.len() == 1 && ubuntu[0].contains("apparmor_restrict_unprivileged_userns=0"),
            "{ubuntu:?}"
        );
        let hardened = advice(Level::Landlock, Facts { namespaces_off: true, in_container: true, ..good });
        assert!(hardened.len() == 2 && hardened[0].contains("max_user_namespaces"), "{hardened:?}");
        let old = advice(Level::Namespace, Facts::default());
        assert!(old.len() == 1 && old[0].contains("5.13"), "{old:?}");
        assert!(advice(Level::Namespace, good)[0].contains("--sandbox-path"));
        assert_eq!(advice(Level::Basic, Facts::default()).len(), 2);
    }
}
