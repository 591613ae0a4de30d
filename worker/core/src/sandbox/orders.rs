//! The launcher's orders: everything about one child, in words on the launcher's command line. The worker writes them,
//! the launcher (the same program, started again) reads them before it becomes the child.

use super::{Level, ResourceLimits};
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt as _, OsStringExt as _};
use std::path::PathBuf;

/// First argument of a program that is to be a launcher.
pub const LAUNCHER: &str = "__box";
/// First argument of a program that is to try a box from the inside.
pub const PROVER: &str = "__box-proof";
/// The port at which the source is served in a network of the child's own: every port is free there.
pub const SERVED_PORT: u16 = 4000;

/// What a child may reach by network.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reach {
    /// Nothing: no socket can be made.
    Nothing,
    /// One listener at [`SERVED_PORT`] in a network of the child's own; the launcher makes it and hands it to the worker.
    Own,
    /// One port of this machine's loopback.
    Port(u16),
}

/// Orders for one child.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Orders {
    /// The worker's process: whoever has another parent when it starts has lost its worker already.
    pub parent: u32,
    /// The box.
    pub level: Level,
    /// The limits.
    pub limits: ResourceLimits,
    /// The network.
    pub reach: Reach,
    /// Files and folders it may read.
    pub read: Vec<PathBuf>,
    /// Files and folders it may read and execute.
    pub execute: Vec<PathBuf>,
    /// The folder it may write in.
    pub write: PathBuf,
}

/// Orders that cannot be carried out.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum OrdersError {
    /// A word is not understood.
    #[error("{0:?} is no order: this is for the worker to call, not for people")]
    Unknown(OsString),
    /// A word is missing.
    #[error("the orders do not say {0:?}: this is for the worker to call, not for people")]
    Missing(&'static str),
}

impl Orders {
    /// The words, up to and with the `--` before the program.
    pub fn encode(&self) -> Vec<OsString> {
        let number = |name: &str, value: u64| OsString::from(format!("{name}={value}"));
        let path = |name: &str, path: &PathBuf| {
            let mut word = OsString::from(format!("{name}="));
            word.push(path);
            word
        };
        let reach = match self.reach {
            Reach::Nothing => "nothing".to_owned(),
            Reach::Own => "own".to_owned(),
            Reach::Port(port) => port.to_string(),
        };
        let limits = self.limits;
        let mut words = vec![
            number("parent", self.parent.into()),
            format!("level={}", self.level.name()).into(),
            format!("reach={reach}").into(),
            number("address-space", limits.address_space),
            number("file-size", limits.file_size),
            number("open-files", limits.open_files),
            number("core", limits.core),
            number("processes", limits.processes),
            path("write", &self.write),
        ];
        words.extend(self.read.iter().map(|p| path("read", p)));
        words.extend(self.execute.iter().map(|p| path("execute", p)));
        words.push("--".into());
        words
    }

    /// The orders, and the program with its arguments.
    ///
    /// # Errors
    /// [`OrdersError`] for anything but what [`Orders::encode`] wrote.
    pub fn decode(words: &[OsString]) -> Result<(Self, &[OsString]), OrdersError> {
        let end = words.iter().position(|w| w == "--").ok_or(OrdersError::Missing("--"))?;
        let (mut read, mut execute) = (Vec::new(), Vec::new());
        let mut once: Vec<(&[u8], &OsStr)> = Vec::new();
        for word in &words[..end] {
            let bytes = word.as_bytes();
            let at =
                bytes.iter().position(|b| *b == b'=').ok_or_else(|| OrdersError::Unknown(word.clone()))?;
            let value = OsString::from_vec(bytes[at + 1..].to_vec());
            match &bytes[..at] {
                b"read" => read.push(value.into()),
                b"execute" => execute.push(value.into()),
                name => once.push((name, OsStr::from_bytes(&bytes[at + 1..]))),
            }
        }
        let mut take = |name: &'static str| {
            let at = once.iter().position(|(n, _)| *n == name.as_bytes());
            at.map(|at| once.swap_remove(at).1).ok_or(OrdersError::Missing(name))
        };
        let mut number = |name| {
            let word = take(name)?;
            let parsed = word.to_str().and_then(|w| w.parse::<u64>().ok());
            parsed.ok_or_else(|| OrdersError::Unknown(word.to_owned()))
        };
        let limits = ResourceLimits {
            address_space: number("address-space")?,
            file_size: number("file-size")?,
            open_files: number("open-files")?,
            core: number("core")?,
            processes: number("processes")?,
        };
        let parent = number("parent")?;
        let parent = u32::try_from(parent).map_err(|_| OrdersError::Missing("parent"))?;
        let level = take("level")?;
        let level =
            Level::ALL.into_iter().find(|l| level == l.name()).ok_or(OrdersError::Missing("level"))?;
        let reach = reach(take("reach")?)?;
        let write = take("write")?.into();
        if let Some((name, _)) = once.first() {
            return Err(OrdersError::Unknown(OsStr::from_bytes(name).to_owned()));
        }
        let orders = Self { parent, level, limits, reach, read, execute, write };
        match &words[end + 1..] {
            [] => Err(OrdersError::Missing("program")),
            program => Ok((orders, program)),
        }
    }
}

fn reach(word: &OsStr) -> Result<Reach, OrdersError> {
    match word.to_str() {
        Some("nothing") => Ok(Reach::Nothing),
        Some("own") => Ok(Reach::Own),
        Some(port) => port.parse().map(Reach::Port).map_err(|_| OrdersError::Unknown(word.to_owned())),
        None => Err(OrdersError::Unknown(word.to_owned())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn a_path() -> impl Strategy<Value = PathBuf> {
        // any bytes but NUL, which no argument can hold
        proptest::collection::vec(1..=255_u8, 0..20).prop_map(|b| OsString::from_vec(b).into())
    }

    proptest! {
        #[test]
        fn what_is_ordered_is_what_is_read(
            (parent, level, port, bytes) in (any::<u32>(), 0..4_usize, any::<Option<u16>>(), any::<u64>()),
            read in proptest::collection::vec(a_path(), 0..4),
            execute in proptest::collection::vec(a_path(), 0..4),
            write in a_path(),
            program in proptest::collection::vec("[a-z=-]{1,9}", 1..4),
        ) {
            let orders = Orders {
                parent,
                level: Level::ALL[level],
                limits: ResourceLimits::for_run(bytes, bytes),
                reach: port.map_or(Reach::Own, |p| if p == 0 { Reach::Nothing } else { Reach::Port(p) }),
                read,
                execute,
                write,
            };
            let program: Vec<OsString> = program.into_iter().map(Into::into).collect();
            let words = [orders.encode(), program.clone()].concat();
            prop_assert_eq!(Orders::decode(&words), Ok((orders, program.as_slice())));
        }
    }

    #[test]
    fn what_nobody_ordered_is_refused() {
        let orders = Orders {
            parent: 1,
            level: Level::Full,
            limits: ResourceLimits::for_run(1, 1),
            reach: Reach::Nothing,
            read: vec![],
            execute: vec![],
            write: "/w".into(),
        };
        let words = [orders.encode(), vec!["/bin/true".into()]].concat();
        assert!(Orders::decode(&words).is_ok());
        for missing in 0..words.len() {
            let mut less = words.clone();
            less.remove(missing);
            assert!(Orders::decode(&less).is_err(), "without {:?}", words[missing]);
        }
        for odd in ["more=1", "more", "level=all", "reach=all", "core=-1"] {
            let more = [vec![odd.into()], words.clone()].concat();
            assert!(Orders::decode(&more).is_err(), "{odd}");
        }
    }
}
