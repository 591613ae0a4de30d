//! Made films on disk, in the folder that cargo builds into: every test is a process of its own, and most of them ask
//! for a film that another one has made.
//!
//! A film is known by all that decides its bytes: the command, the ffmpeg that runs it, what is drawn. It appears under
//! its name by a rename, so that tests which run at the same time see it whole or not at all; at worst both make it.

use super::{Film, RAW_SOUND};
use crate::{marks, tool};
use anyhow::{Context, Result};
use reelmill_common::hash::Canonical;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// Bytes of the sound: interleaved stereo.
fn sound(film: &Film) -> Vec<u8> {
    let samples = film.sound().map_or(Vec::new(), |sound| sound.draw());
    samples.into_iter().flat_map(|s| [s, s]).flat_map(i16::to_le_bytes).collect()
}

fn picture(film: &Film, counter: u32, frame: &mut Vec<u8>) {
    frame.clear();
    marks::draw(counter, film.size.0, film.size.1, frame);
}

/// The name under which a film is kept.
fn name(film: &Film, sound: &[u8]) -> Result<String> {
    let version = tool::run(tool::ffmpeg().arg("-version"), Duration::from_secs(20))?.success()?;
    let mut key = Canonical::new("made-film/1");
    key.text(&version.text()).text(&format!("{film:?}"));
    for word in film.command().get_args() {
        key.text(&word.to_string_lossy());
    }
    key.blob(sound);
    // one function draws all pictures: two of them tell whether it is still the same
    let mut frame = Vec::new();
    for counter in [0, film.frames] {
        picture(film, counter, &mut frame);
        key.blob(&frame);
    }
    Ok(format!("{}-{}", key.digest().short(20), film.file()))
}

/// Makes the film in `dir`, under its own name.
fn make(film: &Film, dir: &Path, sound: &[u8]) -> Result<PathBuf> {
    std::fs::write(dir.join(RAW_SOUND), sound)?;
    tool::run_fed(film.command().current_dir(dir), Duration::from_secs(180), |pipe| {
        let mut frame = Vec::new();
        for counter in 0..film.frames {
            picture(film, counter, &mut frame);
            pipe.write_all(&frame)?;
        }
        Ok(())
    })?
    .success()?;
    Ok(dir.join(film.file()))
}

/// Where films are kept: below the folder that cargo has marked as one that holds only what can be made again.
fn folder() -> Result<PathBuf> {
    let own = std::env::current_exe()?;
    let target = own.ancestors().find(|a| a.join("CACHEDIR.TAG").is_file());
    Ok(target.context("the tests do not run from cargo's target folder")?.join("tmp/films"))
}

/// Puts the film at `path`, which is the caller's own to change.
pub(super) fn film(film: &Film, path: &Path) -> Result<()> {
    let (folder, sound) = (folder()?, sound(film));
    let kept = folder.join(name(film, &sound)?);
    if std::fs::copy(&kept, path).is_ok() {
        return Ok(());
    }
    std::fs::create_dir_all(&folder)?;
    let scratch = tempfile::tempdir_in(&folder)?;
    std::fs::rename(make(film, scratch.path(), &sound)?, &kept)?;
    std::fs::copy(&kept, path)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::film::{PLAIN, Wrap};

    #[test]
    fn a_film_is_made_once_and_another_description_is_another_film() {
        let dir = tempfile::tempdir().expect("scratch");
        let small = Film { name: "kept", size: (32, 32), frames: 2, sound_rate: 0, ..PLAIN };
        let kept = |film: &Film| folder().expect("folder").join(name(film, &sound(film)).expect("name"));
        let others =
            [Film { frames: 3, ..small }, Film { gop: 7, ..small }, Film { wrap: Wrap::Mov, ..small }];
        assert!(others.iter().all(|other| kept(other) != kept(&small)));

        let own = small.make(dir.path()).expect("made").path;
        assert_eq!(std::fs::read(&own).expect("own"), std::fs::read(kept(&small)).expect("kept"));
        // what a test does to its film is not done to that of the others
        std::fs::write(&own, "cut").expect("written");
        let again = small.make(dir.path()).expect("taken").path;
        assert_eq!(std::fs::read(again).expect("again"), std::fs::read(kept(&small)).expect("kept"));
    }
}
