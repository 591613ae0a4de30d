//! Proof tools of Reelmill: films that are hard to fake, a judge that reads packages as a player does, damage to
//! prove that the judge can see, and drivers of the real binary and of real players.
//!
//! Nothing here is shared with the code under test but the vocabulary: boxes, playlists and manifests are parsed
//! again from their specifications. Nothing outside of this crate depends on it.

pub mod cluster;
pub mod cmaf;
pub mod compare;
pub mod film;
pub mod fleet;
pub mod hosts;
pub mod judge;
pub mod marks;
pub mod mpd_rules;
pub mod package;
pub mod players;
pub mod process;
pub mod readers;
pub mod reelmill;
pub mod reference;
pub mod sabotage;
pub mod seaweed;
pub mod sim;
pub mod sound;
pub mod store_faults;
pub mod tool;
