//! Times, hashes, ids and the small enumerations.

use crate::common::v1 as pb;
use crate::wire::{MAX_FRAMES, digest};
use crate::wire::{WireError, checked, from_deltas, need, present, to_deltas, wire_enum};
use reelmill_common::index::{Demuxer, FieldOrder, SourceId};
use reelmill_common::ladder::{EncoderFamily, OutputColour, X264Preset};
use reelmill_common::outcome::FaultKind;
use reelmill_common::spec::ExactTime;
use reelmill_common::{AttemptId, FencingTerm, SpecId, TickRange, TickSeq, Ticks, Timebase};

wire_enum!(pb::Demuxer, Demuxer, {
    Mov, Matroska, MpegTs, MpegPs, Flv, Avi, Ogg, Asf, Mxf, Wav, Flac, Mp3, Aac,
});
wire_enum!(pb::FieldOrder, FieldOrder, { Progressive, TopFirst, BottomFirst, Unknown });
wire_enum!(pb::EncoderFamily, EncoderFamily, { X264, Nvenc });
wire_enum!(pb::OutputColour, OutputColour, { Bt709, Bt601Line525, Bt601Line625 });
wire_enum!(pb::X264Preset, X264Preset, {
    Ultrafast, Superfast, Veryfast, Faster, Fast, Medium, Slow, Slower, Veryslow,
});
wire_enum!(pb::FaultKind, FaultKind, { Source, Encoder, Output, Storage, Abandoned, Worker, Binding, Media, Damage });

pub(crate) fn source_id(value: &[u8], field: &str) -> Result<SourceId, WireError> {
    digest(value, field).map(SourceId)
}

pub(crate) fn spec_id(value: &[u8], field: &str) -> Result<SpecId, WireError> {
    digest(value, field).map(SpecId)
}

impl From<Timebase> for pb::Timebase {
    fn from(v: Timebase) -> Self {
        Self { num: v.num(), den: v.den() }
    }
}

impl TryFrom<pb::Timebase> for Timebase {
    type Error = WireError;
    fn try_from(v: pb::Timebase) -> Result<Self, WireError> {
        Self::new(v.num, v.den).ok_or_else(|| WireError::range("den", format_args!("{}/{}", v.num, v.den)))
    }
}

impl From<TickRange> for pb::TickRange {
    fn from(v: TickRange) -> Self {
        Self { start: v.start.0, end: v.end.0 }
    }
}

impl TryFrom<pb::TickRange> for TickRange {
    type Error = WireError;
    fn try_from(v: pb::TickRange) -> Result<Self, WireError> {
        Ok(Self::new(v.start, v.end))
    }
}

impl From<ExactTime> for pb::ExactTime {
    fn from(v: ExactTime) -> Self {
        Self { ticks: v.ticks.0, timebase: Some(v.timebase.into()) }
    }
}

impl TryFrom<pb::ExactTime> for ExactTime {
    type Error = WireError;
    fn try_from(v: pb::ExactTime) -> Result<Self, WireError> {
        Ok(Self { ticks: Ticks(v.ticks), timebase: need(v.timebase, "timebase")? })
    }
}

impl From<&TickSeq> for pb::TickSeq {
    fn from(v: &TickSeq) -> Self {
        use pb::tick_seq::{Form, Listed, Regular};
        let form = match v {
            TickSeq::Regular { first, step, count } => {
                Form::Regular(Regular { first: *first, step: *step, count: *count })
            }
            TickSeq::Listed(times) => Form::Listed(Listed { deltas: to_deltas(times.iter().copied()) }),
        };
        Self { form: Some(form) }
    }
}

impl TryFrom<pb::TickSeq> for TickSeq {
    type Error = WireError;
    fn try_from(v: pb::TickSeq) -> Result<Self, WireError> {
        use pb::tick_seq::Form;
        match present(v.form, "form")? {
            Form::Regular(r) => {
                checked(Self::Regular { first: r.first, step: r.step, count: r.count }, "regular")
            }
            Form::Listed(l) => checked(Self::Listed(from_deltas(&l.deltas, MAX_FRAMES, "listed")?), "listed"),
        }
    }
}

impl From<AttemptId> for pb::AttemptId {
    fn from(v: AttemptId) -> Self {
        Self { term: v.term.0, sequence: v.sequence }
    }
}

impl TryFrom<pb::AttemptId> for AttemptId {
    type Error = WireError;
    fn try_from(v: pb::AttemptId) -> Result<Self, WireError> {
        Ok(Self { term: FencingTerm(v.term), sequence: v.sequence })
    }
}
