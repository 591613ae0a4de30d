//! libx264's options for one rung: everything that decides bytes is said, so that no default of a build matters.

use super::{Argv, picture};
use reelmill_common::ladder::VideoSettings;

/// Encoder options of a rung. IDRs are forced at the frames whose times `force` lists.
pub(super) fn options(a: &mut Argv, s: &VideoSettings, force: &str) {
    a.pair("-c:v", "libx264")
        .pair("-preset", s.preset.name())
        .words(&["-profile:v", "high", "-pix_fmt", "yuv420p"])
        .pair("-level:v", format!("{}.{}", s.level / 10, s.level % 10))
        .pair("-crf", format!("{}.{}", s.crf_tenths / 10, s.crf_tenths % 10))
        .pair("-maxrate", format!("{}k", s.max_rate_kbps))
        .pair("-bufsize", format!("{}k", s.buffer_kbit))
        .pair("-g", s.gop_frames)
        .pair("-refs", s.refs)
        .pair("-bf", s.bframes)
        .pair("-threads", s.threads)
        .words(&["-thread_type", "frame", "-a53cc", "0", "-forced-idr", "1", "-flags:v", "+bitexact+cgop"]);
    for (option, name) in picture::encoder_tags(s.colour) {
        a.pair(option, name);
    }
    a.words(&["-chroma_sample_location", "left"])
        .pair("-x264-params", private(s))
        .pair("-force_key_frames", force);
}

/// What only x264's own parameters can say. `stitchable` keeps the PPS free of anything that depends on rate control
/// or build; `cabac` and `8x8dct` keep the fastest preset in High profile. `fps` is pinned because ffmpeg would take it from the container, guessed differently by each version, and
/// x264 scales its buffer model by it (never its timing, which follows the frames' times): IDRs are about two seconds
/// apart, so half of their longest distance is near the truth, and the same for every chunk of a rung.
fn private(s: &VideoSettings) -> String {
    let mut p = format!(
        "stitchable=1:cabac=1:8x8dct=1:open-gop=0:scenecut=0:b-pyramid=normal:weightp=1:aq-mode=1:sliced-threads=0:nal-hrd=none:\
         fps={}/2:rc-lookahead={}",
        s.gop_frames.clamp(2, 120),
        s.lookahead
    );
    if s.cpu_independent {
        p.push_str(":cpu-independent=1");
    }
    p
}
