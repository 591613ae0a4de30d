//! The worker's self-test at start: a fixed clip of one second through the whole recipe. The hash of what comes out is
//! the worker's fingerprint, and how long it takes is its speed.

use super::{Argv, ArgvError, Level, audio, picture, x264};
use reelmill_common::Timebase;
use reelmill_common::index::{Colour, Rotation};
use reelmill_common::ladder::{
    AudioMix, AudioSettings, EncoderFamily, OutputColour, VideoSettings, X264Preset,
};
use reelmill_common::spec::{AAC_FRAME, PictureRecipe};
use std::num::NonZeroU32;

/// Frames of the clip.
pub const FRAMES: u32 = 24;
/// Pixels the clip encodes, over all its frames: for the measured speed.
pub const PIXELS: u64 = 640 * 360 * FRAMES as u64;

/// Arguments that make the clip: pictures to `video`, sound to `audio`, both paths. The same builders as for
/// a chunk write filters and encoder options: what differs between two machines in a chunk differs here. With pictures
/// and sound in one graph ffmpeg 5.1 hands the encoder whatever the resampler made, so the samples are counted off.
///
/// # Errors
/// [`ArgvError::Family`] for a family without a recipe.
pub fn clip(family: EncoderFamily, video: &str, audio_path: &str) -> Result<Vec<String>, ArgvError> {
    if family != EncoderFamily::X264 {
        return Err(ArgvError::Family(family.name()));
    }
    let (v, s) = (video_settings(family), audio_settings());
    let tb = Timebase::hz(NonZeroU32::new(FRAMES * 1_000).unwrap_or(NonZeroU32::MIN));
    let bt601 = PictureRecipe {
        rotation: Rotation::default(),
        deinterlace: None,
        colour: Colour { primaries: Some(6), transfer: Some(6), matrix: Some(6), full_range: Some(false) },
        tone_map: None,
    };
    let mut a = Argv::ffmpeg(Level::Warning);
    a.pair(
        "-filter_complex",
        format!(
            "testsrc2=size=720x576:rate={FRAMES}:duration=1,format=pix_fmts=yuv420p,settb=expr={tb},{}[picture];\
             sine=frequency=997:sample_rate=44100:duration=1:beep_factor=4,{},\
             aresample={}:osf=fltp:ochl=stereo:async=1:min_hard_comp=0.1:first_pts=0,\
             asetnsamples=n={AAC_FRAME}:pad=0[sound]",
            picture::to_rung(&bt601, &v).join(","),
            audio::pan(&s),
            s.sample_rate
        ),
    );
    a.words(&["-map", "[picture]"]);
    x264::options(&mut a, &v, "0,0.5");
    super::video::times_pass(&mut a, tb);
    a.transport(video);
    a.words(&["-map", "[sound]"]);
    audio::encoder(&mut a, &s);
    a.pair("-frag_duration", 10_000_000).transport(audio_path);
    a.finish()
}

fn video_settings(family: EncoderFamily) -> VideoSettings {
    VideoSettings {
        family,
        width: 640,
        height: 360,
        every: 1,
        max_rate_kbps: 800,
        buffer_kbit: 1_200,
        crf_tenths: 210,
        preset: X264Preset::Medium,
        level: 30,
        refs: 3,
        bframes: 3,
        lookahead: 24,
        gop_frames: 48,
        threads: 1,
        cpu_independent: false,
        colour: OutputColour::Bt709,
    }
}

fn audio_settings() -> AudioSettings {
    let mix = AudioMix::Matrix(vec![vec![7_071], vec![7_071]]);
    AudioSettings { sample_rate: 48_000, channels: 2, bit_rate_kbps: 128, mix }
}
