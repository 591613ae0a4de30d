//! Media segments: `styp`, one `moof`, one `mdat`.
//!
//! Decode times are chosen here: the i-th sample in decode order is decoded at the i-th smallest presentation time.
//! So `tfdt` is the segment's first time, durations are the gaps between presentation times closed by the segment's
//! end, and segments join without gap or overlap whatever the frame rate does.

use super::CmafError;
use crate::boxes::{put_box, put_full, put32, put64};
use reelmill_common::outcome::IFrame;

/// Picture or sound.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum Kind {
    /// Reordered pictures; composition offsets are written.
    Video,
    /// Packets in presentation order, every one a sync sample; no composition offsets.
    Audio,
}

/// One sample, in decode order.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct SegmentSample<'a> {
    /// Presentation time in ticks of the rendition's timescale, on the timeline on which `start` lies.
    pub pts: i64,
    /// Sync sample (IDR)?
    pub key: bool,
    /// Its bytes, AVCC length-prefixed NAL units or a raw AAC packet.
    pub bytes: &'a [u8],
}

/// A segment to be written.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct SegmentInput<'a> {
    /// Segment number: `mfhd` sequence number.
    pub number: u32,
    /// Picture or sound.
    pub kind: Kind,
    /// Start on the media timeline (video: output ticks; audio: `first_packet * 1024`), which is `tfdt`. The
    /// earliest sample lies exactly here.
    pub start: i64,
    /// End: closes the last sample's duration.
    pub end: i64,
    /// As in [`super::VideoInit::reorder_delay`]; 0 for audio.
    pub reorder_delay: u32,
    /// Samples in decode order.
    pub samples: Vec<SegmentSample<'a>>,
}

/// A finished segment.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Segment {
    /// The file.
    pub bytes: Vec<u8>,
    /// For I-frame playlists: the first IDR, as the range from the start of `moof` to the end of its sample.
    /// Empty for audio.
    pub iframes: Vec<IFrame>,
}

/// Writes a segment.
///
/// # Errors
/// [`CmafError`] naming the rule that the samples break.
pub fn segment(input: &SegmentInput<'_>) -> Result<Segment, CmafError> {
    let first = input.samples.first().ok_or(CmafError::Empty { number: input.number })?;
    if !first.key {
        return Err(CmafError::NoSync { number: input.number });
    }
    let timing = Timing::of(input)?;
    let payload: u64 = input.samples.iter().map(|s| s.bytes.len() as u64).sum();
    // 64 KiB of slack is more than styp and headers take; trun's entries are counted apart
    let size = payload + 16 * input.samples.len() as u64 + 65_536;
    if size > u64::from(u32::MAX) / 2 {
        return Err(CmafError::Range { what: "segment size", value: size as i64 });
    }
    let mut bytes = Vec::with_capacity(size as usize);
    put_box(&mut bytes, b"styp", |out| {
        out.extend_from_slice(b"msdh");
        put32(out, 0);
        out.extend_from_slice(b"msdhcmfs");
    });
    let moof = bytes.len();
    let offset_at = timing.moof(&mut bytes, input);
    let data_offset = (bytes.len() - moof + 8) as u32;
    bytes[offset_at..offset_at + 4].copy_from_slice(&data_offset.to_be_bytes());
    put_box(&mut bytes, b"mdat", |out| input.samples.iter().for_each(|s| out.extend_from_slice(s.bytes)));
    let iframe = IFrame {
        time: first.pts,
        offset: moof as u64,
        length: u64::from(data_offset) + first.bytes.len() as u64,
    };
    let iframes = if input.kind == Kind::Video { vec![iframe] } else { Vec::new() };
    Ok(Segment { bytes, iframes })
}

/// Times as the boxes say them, one per sample in decode order.
struct Timing {
    start: u64,
    durations: Vec<u32>,
    /// Composition offsets; empty for audio.
    offsets: Vec<i32>,
}

impl Timing {
    fn of(input: &SegmentInput<'_>) -> Result<Self, CmafError> {
        let number = input.number;
        let mut sorted: Vec<i64> = input.samples.iter().map(|s| s.pts).collect();
        sorted.sort_unstable();
        if let Some(w) = sorted.windows(2).find(|w| w[0] == w[1]) {
            return Err(CmafError::Duplicate { number, pts: w[0] });
        }
        let (first, last) = (sorted[0], sorted[sorted.len() - 1]);
        if first != input.start || last >= input.end {
            return Err(CmafError::Span { number, start: input.start, end: input.end, first, last });
        }
        let start =
            u64::try_from(input.start).map_err(|_| CmafError::Range { what: "tfdt", value: input.start })?;
        let ends = sorted.iter().skip(1).chain(std::iter::once(&input.end));
        let durations: Result<_, _> = sorted
            .iter()
            .zip(ends)
            .map(|(a, b)| fit::<u32>("sample duration", b.saturating_sub(*a)))
            .collect();
        Ok(Self { start, durations: durations?, offsets: offsets(input, &sorted)? })
    }

    /// Appends `moof`; gives the place of `data_offset`, which is known only afterwards.
    fn moof(&self, out: &mut Vec<u8>, input: &SegmentInput<'_>) -> usize {
        let mut data_offset_at = 0;
        put_box(out, b"moof", |out| {
            put_full(out, b"mfhd", 0, 0, |out| put32(out, input.number));
            put_box(out, b"traf", |out| {
                self.tfhd(out, input.kind);
                put_full(out, b"tfdt", 1, 0, |out| put64(out, self.start));
                data_offset_at = self.trun(out, input);
            });
        });
        data_offset_at
    }

    /// One duration for all of them, if that is so (it is at a constant frame rate).
    fn common_duration(&self) -> Option<u32> {
        let first = *self.durations.first()?;
        self.durations.iter().all(|d| *d == first).then_some(first)
    }

    fn tfhd(&self, out: &mut Vec<u8>, kind: Kind) {
        const DEFAULT_BASE_IS_MOOF: u32 = 0x02_0000;
        const DEFAULT_FLAGS: u32 = 0x20;
        const DEFAULT_DURATION: u32 = 0x08;
        let duration = self.common_duration();
        let flags = DEFAULT_BASE_IS_MOOF | DEFAULT_FLAGS | duration.map_or(0, |_| DEFAULT_DURATION);
        put_full(out, b"tfhd", 0, flags, |out| {
            put32(out, 1);
            if let Some(duration) = duration {
                put32(out, duration);
            }
            put32(out, if kind == Kind::Video { NON_SYNC } else { SYNC });
        });
    }

    /// Appends `trun`; gives the place of `data_offset`.
    fn trun(&self, out: &mut Vec<u8>, input: &SegmentInput<'_>) -> usize {
        const DATA_OFFSET: u32 = 0x01;
        const FIRST_FLAGS: u32 = 0x04;
        const DURATION: u32 = 0x100;
        const SIZE: u32 = 0x200;
        const FLAGS: u32 = 0x400;
        const COMPOSITION: u32 = 0x800;
        let video = input.kind == Kind::Video;
        let each_flags = video && input.samples.iter().skip(1).any(|s| s.key);
        let each_duration = self.common_duration().is_none();
        let mut flags = DATA_OFFSET | SIZE;
        flags |= if each_duration { DURATION } else { 0 };
        flags |= match (video, each_flags) {
            (false, _) => 0,
            (true, false) => FIRST_FLAGS | COMPOSITION,
            (true, true) => FLAGS | COMPOSITION,
        };
        let mut data_offset_at = 0;
        put_full(out, b"trun", 1, flags, |out| {
            put32(out, input.samples.len() as u32);
            data_offset_at = out.len();
            put32(out, 0);
            if video && !each_flags {
                put32(out, SYNC);
            }
            for (i, sample) in input.samples.iter().enumerate() {
                if each_duration {
                    put32(out, self.durations[i]);
                }
                put32(out, sample.bytes.len() as u32);
                if each_flags {
                    put32(out, if sample.key { SYNC } else { NON_SYNC });
                }
                if let Some(offset) = self.offsets.get(i) {
                    out.extend_from_slice(&offset.to_be_bytes());
                }
            }
        });
        data_offset_at
    }
}

/// sample_depends_on = 2 (on no other), a sync sample (ISO/IEC 14496-12, 8.8.3.1).
const SYNC: u32 = 0x0200_0000;
/// sample_depends_on = 1 (on others), not a sync sample.
const NON_SYNC: u32 = 0x0101_0000;

/// Presentation minus decode time plus the reorder delay, for each sample.
fn offsets(input: &SegmentInput<'_>, sorted: &[i64]) -> Result<Vec<i32>, CmafError> {
    let number = input.number;
    let delay = input.reorder_delay;
    if input.kind == Kind::Audio {
        let moved = input.samples.iter().zip(sorted).find(|(s, dts)| s.pts != **dts);
        return match moved {
            Some((s, _)) => Err(CmafError::AudioOrder { number, pts: s.pts }),
            None => Ok(Vec::new()),
        };
    }
    let offset = |(s, dts): (&SegmentSample<'_>, &i64)| {
        let offset = s.pts.saturating_sub(*dts).saturating_add(i64::from(delay));
        if offset < 0 && delay > 0 {
            return Err(CmafError::Reorder { number, pts: s.pts, late: -offset, delay });
        }
        fit("composition offset", offset)
    };
    input.samples.iter().zip(sorted).map(offset).collect()
}

fn fit<T: TryFrom<i64>>(what: &'static str, value: i64) -> Result<T, CmafError> {
    T::try_from(value).map_err(|_| CmafError::Range { what, value })
}
