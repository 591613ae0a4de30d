//! Sound of a rendition against the film: packets counted, marks found at their samples, nothing heard between.
//!
//! Packets go to the decoder as they are, one after the other, with no container around them that could hide a
//! hole; the edit list of the init segment is applied here, to the sample.

use super::{Check, Findings};
use crate::film::ExpectedSound;
use crate::package::Rendition;
use crate::tool;
use anyhow::{Context, Result, ensure};
use reelmill_common::Sha256;
use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::process::Command;
use std::time::Duration;

/// Samples in an AAC-LC packet.
const PACKET: i64 = 1024;
/// A burst that came through a codec looks at least so much like itself.
const LIKENESS: f64 = 0.5;

/// An AAC packet with an ADTS header in front (ISO/IEC 13818-7 6.2).
fn adts(asc: &[u8], packet: &[u8]) -> Result<Vec<u8>> {
    ensure!(asc.len() >= 2, "AudioSpecificConfig of {} bytes", asc.len());
    let bits = u16::from_be_bytes([asc[0], asc[1]]);
    let (object, rate, channels) = (bits >> 11, bits >> 7 & 15, bits >> 3 & 15);
    ensure!(object == 2 && rate < 13, "object type {object}, rate index {rate}: not AAC-LC");
    let size = packet.len() + 7;
    let mut out = vec![
        0xff,
        0xf1,
        0x40 | (rate as u8) << 2 | (channels >> 2) as u8,
        (channels as u8 & 3) << 6 | (size >> 11) as u8,
        (size >> 3) as u8,
        (size as u8 & 7) << 5 | 0x1f,
        0xfc,
    ];
    out.extend_from_slice(packet);
    Ok(out)
}

/// The packets of an audio rendition, in order.
pub fn packets(r: &Rendition) -> Vec<&[u8]> {
    r.segments.iter().flat_map(|s| &s.samples).map(|s| s.data.as_slice()).collect()
}

/// The packets as one stream that a decoder takes.
fn stream(r: &Rendition) -> Result<Vec<u8>> {
    let packets: Vec<Vec<u8>> =
        packets(r).into_iter().map(|p| adts(&r.init.asc, p)).collect::<Result<_>>()?;
    Ok(packets.concat())
}

/// Samples of all channels, interleaved.
fn samples(stream: &[u8]) -> Result<Vec<u8>> {
    let mut command: Command = tool::ffmpeg();
    command.args(["-v", "error", "-f", "aac", "-i", "pipe:0", "-f", "s16le", "-"]);
    let done = tool::run_fed(&mut command, Duration::from_secs(120), |pipe| pipe.write_all(stream))?;
    Ok(done.success()?.stdout)
}

/// What is heard of a rendition from time 0 to its end: the first channel, as samples.
pub fn decode(r: &Rendition) -> Result<Vec<i16>> {
    edited(r, &samples(&stream(r)?)?)
}

/// What the edit list lets through of a rendition's samples: the first channel.
fn edited(r: &Rendition, samples: &[u8]) -> Result<Vec<i16>> {
    let channels = usize::from(r.init.audio.1.max(1));
    let heard: Vec<i16> =
        samples.chunks_exact(2 * channels).map(|s| i16::from_le_bytes([s[0], s[1]])).collect();
    let from = usize::try_from(r.init.edit_media_time).context("a negative edit")?;
    let to = usize::try_from(r.end()).context("a negative end")?.min(heard.len());
    Ok(heard.get(from..to).unwrap_or_default().to_vec())
}

/// Checks one audio rendition.
pub(super) fn check(
    r: &Rendition,
    expected: &ExpectedSound,
    decoded: &mut BTreeMap<Sha256, Vec<u8>>,
    found: &mut Findings,
) -> Result<()> {
    let rate = i64::from(r.init.timescale);
    let count = packets(r).len() as i64;
    let presented = r.end() - r.init.edit_media_time;
    let due = (presented + r.init.edit_media_time + PACKET - 1) / PACKET;
    found.expect(
        count == due && rate == i64::from(expected.marked.rate),
        Check::AudioPackets,
        &r.uri,
        || format!("{count} packets at {rate} Hz, {presented} samples presented need {due}"),
    );
    let broken =
        r.segments.iter().flat_map(|s| &s.samples).rev().skip(1).find(|s| i64::from(s.duration) != PACKET);
    found.expect(broken.is_none(), Check::AudioPackets, &r.uri, || {
        format!("a packet inside lasts {:?}", broken.map(|s| s.duration))
    });
    let stream = stream(r)?;
    let decoded = match decoded.entry(Sha256::of(&stream)) {
        Entry::Occupied(known) => known.into_mut(),
        Entry::Vacant(new) => new.insert(samples(&stream)?),
    };
    let heard = edited(r, decoded)?;
    let marks = expected.marked.find(&heard, expected.from);
    let far = |lag: i64| lag.abs() > expected.slack;
    let late: Vec<_> = marks.iter().filter(|m| far(m.lag) || m.likeness < LIKENESS).collect();
    let spread = marks.iter().map(|m| m.lag).max().zip(marks.iter().map(|m| m.lag).min());
    found.expect(marks.len() >= 3 && late.is_empty(), Check::AudioLag, &r.uri, || {
        format!("{} marks, of which not at their sample: {late:?}", marks.len())
    });
    found.expect(spread.is_none_or(|(a, b)| a - b <= 1), Check::AudioLag, &r.uri, || {
        format!("the sound drifts by {spread:?} samples")
    });
    let noise = expected.marked.disturbances(&heard, expected.from);
    found.expect(noise.is_empty(), Check::AudioContinuity, &r.uri, || {
        format!("{} blocks differ from the tone, the first {:?}", noise.len(), noise.first())
    });
    Ok(())
}
