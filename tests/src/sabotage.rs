//! Known damage to a good package, one kind a function. Each is a fault that real transcoders make, and each leaves
//! a package that at least one real player plays without a word.

use crate::cmaf::{self, Init, Sample};
use anyhow::{Context, Result, ensure};
use std::path::{Path, PathBuf};

/// Copies a package.
pub fn copy(from: &Path, to: &Path) -> Result<()> {
    std::fs::create_dir_all(to)?;
    for entry in std::fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            std::fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}

/// One segment of a rendition, to be changed and written back.
struct Open {
    path: PathBuf,
    init: Init,
    number: u32,
    begin: i64,
    samples: Vec<Sample>,
}

impl Open {
    fn read(package: &Path, folder: &str, number: u32) -> Result<Self> {
        let folder = package.join(folder);
        let init = cmaf::read_init(&std::fs::read(folder.join("init.mp4"))?)?;
        let path = folder.join(format!("{number:06}.m4s"));
        let (begin, samples) = cmaf::read_segment(&std::fs::read(&path)?, &init)?;
        Ok(Self { path, init, number, begin, samples })
    }

    fn write(self) -> Result<()> {
        Ok(std::fs::write(&self.path, cmaf::write_segment(self.number, self.begin, &self.samples))?)
    }
}

/// A picture that no other picture refers to, far from both ends: its neighbours stay decodable without it.
fn disposable(samples: &[Sample]) -> Result<usize> {
    let nal_ref_idc = |s: &Sample| s.data.get(4).map_or(3, |b| b >> 5 & 3);
    (4..samples.len() - 4).find(|i| nal_ref_idc(&samples[*i]) == 0).context("no disposable picture")
}

/// Loses one frame; the one before it stays on the screen for two.
pub fn drop_frame(package: &Path, folder: &str) -> Result<()> {
    let mut open = Open::read(package, folder, 2)?;
    let at = disposable(&open.samples)?;
    let gone = open.samples.remove(at);
    open.samples[at - 1].duration += gone.duration;
    open.write()
}

/// Loses one frame and closes the gap: everything after it comes one frame early.
pub fn drop_frame_and_close_gap(package: &Path, folder: &str) -> Result<()> {
    let mut open = Open::read(package, folder, 2)?;
    let at = disposable(&open.samples)?;
    open.samples.remove(at);
    open.write()
}

/// Exchanges two segments' contents, each at the other's time.
pub fn swap_segments(package: &Path, folder: &str) -> Result<()> {
    let mut first = Open::read(package, folder, 1)?;
    let mut second = Open::read(package, folder, 2)?;
    ensure!(first.samples.len() == second.samples.len(), "segments of different length");
    std::mem::swap(&mut first.samples, &mut second.samples);
    first.write()?;
    second.write()
}

/// Moves one segment's decode time by a frame.
pub fn shift_decode_time(package: &Path, folder: &str) -> Result<()> {
    let mut open = Open::read(package, folder, 2)?;
    open.begin += i64::from(open.samples[0].duration);
    open.write()
}

/// Loses one audio packet; the rest follows 1,024 samples early.
pub fn drop_audio_packet(package: &Path) -> Result<()> {
    let mut open = Open::read(package, "audio", 2)?;
    let middle = open.samples.len() / 2;
    open.samples.remove(middle);
    open.write()
}

/// Puts a packet of silence's length, from elsewhere, into the sound: same count, same times, a click.
pub fn replace_audio_packet(package: &Path) -> Result<()> {
    let mut open = Open::read(package, "audio", 2)?;
    let loudest = (0..open.samples.len()).max_by_key(|i| open.samples[*i].data.len()).context("packets")?;
    let quiet = open.samples.len() * 3 / 4;
    for i in quiet..quiet + 3 {
        open.samples[i].data = open.samples[loudest].data.clone();
    }
    open.write()
}

/// Makes all sound late by 20 ms: the edit list forgets most of the encoder's delay.
pub fn delay_sound(package: &Path) -> Result<()> {
    let path = package.join("audio/init.mp4");
    let mut bytes = std::fs::read(&path)?;
    let init = cmaf::read_init(&bytes)?;
    let at = bytes.windows(4).position(|w| w == b"elst").context("no edit list")?;
    let wide = bytes[at + 4] == 1;
    let late = init.edit_media_time - i64::from(init.timescale) / 50;
    if wide {
        bytes[at + 20..at + 28].copy_from_slice(&late.to_be_bytes());
    } else {
        bytes[at + 16..at + 20].copy_from_slice(&(late as i32).to_be_bytes());
    }
    Ok(std::fs::write(path, bytes)?)
}

/// Deletes a segment.
pub fn lose_segment(package: &Path, folder: &str) -> Result<()> {
    Ok(std::fs::remove_file(package.join(folder).join("000002.m4s"))?)
}

/// Cuts a segment short, as a full disk does.
pub fn truncate_segment(package: &Path, folder: &str) -> Result<()> {
    let path = package.join(folder).join("000002.m4s");
    let bytes = std::fs::read(&path)?;
    Ok(std::fs::write(path, &bytes[..bytes.len() - 100])?)
}

/// Replaces the first `from` in a text file.
pub fn edit(path: &Path, from: &str, to: &str) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    ensure!(text.contains(from), "{} does not hold {from:?}", path.display());
    Ok(std::fs::write(path, text.replacen(from, to, 1))?)
}

/// Replaces the value of the first `KEY=value` in a text file.
pub fn edit_value(path: &Path, key: &str, change: impl Fn(u64) -> u64) -> Result<()> {
    let text = std::fs::read_to_string(path)?;
    let at = text.find(key).with_context(|| format!("no {key}"))? + key.len();
    let digits: String = text[at..].chars().take_while(char::is_ascii_digit).collect();
    let changed = change(digits.parse()?).to_string();
    Ok(std::fs::write(path, format!("{}{changed}{}", &text[..at], &text[at + digits.len()..]))?)
}

/// Says that a segment's first picture is one that others can start from, when it is not: drops the IDR picture.
pub fn drop_idr(package: &Path, folder: &str) -> Result<()> {
    let mut open = Open::read(package, folder, 2)?;
    let gone = open.samples.remove(0);
    open.begin += i64::from(gone.duration);
    open.samples[0].sync = true;
    ensure!(!open.samples[0].is_idr() && open.init.handler == "vide", "the second picture is an IDR too");
    open.write()
}
