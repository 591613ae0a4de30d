//! Exit codes: one place where the end of a command becomes a number.

use std::process::ExitCode;

/// How a command ended.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Exit {
    /// 0: done.
    Done,
    /// 2: the command line, an option or a ladder file is wrong.
    Usage,
    /// 3: the input is at fault.
    Input,
    /// 4: an encoder or worker failed for good.
    Encoder,
    /// 5: storage or cluster unreachable.
    Unreachable,
    /// 6: cancelled.
    Cancelled,
    /// 130: interrupted by a signal.
    Interrupted,
}

impl Exit {
    /// The documented number.
    pub(crate) fn code(self) -> u8 {
        match self {
            Self::Done => 0,
            Self::Usage => 2,
            Self::Input => 3,
            Self::Encoder => 4,
            Self::Unreachable => 5,
            Self::Cancelled => 6,
            Self::Interrupted => 130,
        }
    }

    /// From a job's own exit code (see `JobState::exit_code`).
    pub(crate) fn of_job(code: u8) -> Self {
        match code {
            0 => Self::Done,
            3 => Self::Input,
            5 => Self::Unreachable,
            6 => Self::Cancelled,
            _ => Self::Encoder,
        }
    }
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        exit.code().into()
    }
}

/// A command that could not do its work: the number, and a sentence for stderr.
#[derive(Debug, thiserror::Error)]
#[error("{message}")]
pub(crate) struct Failure {
    /// The number.
    pub(crate) exit: Exit,
    /// What happened and what to do.
    pub(crate) message: String,
}

impl Failure {
    /// A failure with its sentence.
    pub(crate) fn new(exit: Exit, message: impl Into<String>) -> Self {
        Self { exit, message: message.into() }
    }
}

/// What commands return: how they ended, or why they could not.
pub(crate) type CommandResult = Result<Exit, Failure>;
