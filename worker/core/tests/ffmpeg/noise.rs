//! How good the sound behind a join is, against the one continuous encode of the same film.
//!
//! Noise is measured against what the sound itself masks, over the 20 packets behind a join, in two ways. The mean over
//! bands in decibels is what the design asks for; it alone would be content with an encoder that has just begun, which
//! spends its bits on low bands and leaves the high ones to noise. The power of the noise against the mask says what
//! that sounds like: behind 16 packets of pre-roll it is several decibels worse. Both must hold.

use crate::dir;
use crate::joins::{decode, encode, indexed, kept, original, range};
use crate::run::{binaries, run, words};
use crate::sound::packets;
use crate::spectrum::{energy_in_bands, masks};
use reelmill_common::index::{AudioTrack, Demuxer};
use reelmill_common::spec::AAC_FRAME;
use reelmill_media::aac::{WindowSequence, window};
use reelmill_worker_core::argv::Input;
use reelmill_worker_core::verify;
use std::path::{Path, PathBuf};

/// What the plan gives a range.
const PLANNED: u64 = 2048;
/// A range that begins almost cold.
const COLD: u64 = 16;
/// Decibels that sound behind joins may be worse, on the mean over joins.
const BOUND: f64 = 0.5;
/// Seconds of a film that is measured.
const SECONDS: u64 = 60;
const PACKETS: u64 = 20;

/// Noise-to-mask in decibels.
#[derive(Clone, Copy)]
struct Noise {
    /// Mean over blocks and bands of the ratio in decibels.
    mean: f64,
    /// The mean ratio, in decibels.
    power: f64,
}

/// Packets decoded before those that are measured: a decoder needs one to overlap with.
const LEAD: u64 = 8;

/// Over the 20 packets from `border`; `heard` begins [`LEAD`] packets before them.
fn noise(sound: &[f64], heard: &[f64], border: u64) -> Noise {
    let heard_at = |i: usize| heard[i - ((border - LEAD) * AAC_FRAME) as usize];
    let (mut decibels, mut ratios) = (0.0, 0.0);
    let mut count = 0.0;
    for p in border..border + PACKETS {
        let at = (p * AAC_FRAME) as usize;
        let error: Vec<f64> = (at..at + 2048).map(|i| heard_at(i) - sound[i]).collect();
        let masks = masks(&energy_in_bands(&sound[at..at + 2048]));
        for (n, m) in energy_in_bands(&error).iter().zip(&masks) {
            decibels += 10.0 * (n / m).max(1e-12).log10();
            ratios += n / m;
            count += 1.0;
        }
    }
    Noise { mean: decibels / count, power: 10.0 * (ratios / count).max(1e-12).log10() }
}

/// Differences of sound behind joins to the one encode, a join each, for each pre-roll asked for.
fn behind_joins(
    program: &str,
    dir: &Path,
    (input, track): &(Input, AudioTrack),
    joins: u64,
    pre_rolls: &[u64],
) -> Vec<Vec<Noise>> {
    let sound = original(input);
    let total = SECONDS * 48_000;
    let mut whole = range(track, total, 0, packets(total), None);
    whole.range = None;
    let file = encode(program, dir, &whole, input);
    let whole = kept(program, &whole, &file);
    let quiet = |border: u64| {
        let long = |p: u64| window(whole[p as usize]).unwrap().sequence == WindowSequence::OnlyLong;
        (border - 3..border + 3).all(long)
    };
    let (first, last) = (PLANNED + 60, packets(total) - PACKETS - 60);
    let mut found = vec![Vec::new(); pre_rolls.len()];
    for n in 0..joins {
        let wanted = first + (last - first) * n / joins;
        // where the plan would find a place
        let Some(border) = (wanted..last).find(|b| quiet(*b)) else { continue };
        let led = (border - LEAD) as usize;
        let before = noise(&sound, &decode(dir, &whole[led..(border + PACKETS + 4) as usize]), border);
        for (differences, pre_roll) in found.iter_mut().zip(pre_rolls) {
            let mut chunk = range(track, total, border, border + PACKETS + 4, None);
            chunk.range.as_mut().unwrap().pre_roll = *pre_roll;
            let file = encode(program, dir, &chunk, input);
            let Ok(plans) = verify::packets(&chunk, &file) else { continue };
            let own = plans.into_iter().flat_map(|p| p.samples).map(|s| &file[s.range]);
            let joined: Vec<&[u8]> = whole[led..border as usize].iter().copied().chain(own).collect();
            let after = noise(&sound, &decode(dir, &joined), border);
            differences.push(Noise { mean: after.mean - before.mean, power: after.power - before.power });
        }
    }
    found
}

/// Prints and returns the means over joins.
fn told(what: &str, pre_roll: u64, differences: &[Noise]) -> Noise {
    let mean = |part: fn(&Noise) -> f64| differences.iter().map(part).sum::<f64>() / differences.len() as f64;
    let (means, powers): (Vec<f64>, Vec<f64>) = differences.iter().map(|d| (d.mean, d.power)).unzip();
    let all = Noise { mean: mean(|d| d.mean), power: mean(|d| d.power) };
    println!(
        "{what}: {} joins behind {pre_roll} packets: noise-to-mask {:+.2} dB of {means:+.2?}, in power {:+.2} dB of \
         {powers:+.2?}",
        differences.len(),
        all.mean,
        all.power
    );
    all
}

fn pcm(path: &Path, before: &str, source: &str, after: &str) -> (Input, AudioTrack) {
    let mut argv = words(&format!("-nostdin -v error -y {before} -i"));
    argv.push(source.to_owned());
    argv.extend(words(&format!("{after} -t {SECONDS} -ac 2 -ar 48000 -c:a pcm_s16le")));
    argv.push(path.to_string_lossy().into_owned());
    run("ffmpeg", &argv);
    indexed(path, Demuxer::Wav)
}

#[test]
fn sound_behind_joins_is_as_good_as_in_one_encode() {
    let dir = dir();
    // three tones that sway, and noise that comes and goes
    let music = "aevalsrc=exprs='0.15*sin(2*PI*220*t)*(0.6+0.4*sin(3*t))+0.08*sin(2*PI*663*t+2*sin(5*t))\
                 +0.04*sin(2*PI*2210*t)+0.25*(random(0)-0.5)*(0.3+0.3*sin(2*PI*1.7*t))':sample_rate=48000";
    let film = pcm(&dir.path().join("a.wav"), "-f lavfi", music, "");
    for program in binaries() {
        let found = behind_joins(&program, dir.path(), &film, 3, &[PLANNED, COLD]);
        let planned = told(&program, PLANNED, &found[0]);
        let cold = told(&program, COLD, &found[1]);
        assert!(found[0].len() == 3 && planned.mean <= BOUND && planned.power <= BOUND, "{program}");
        assert!(cold.power > planned.power + BOUND, "{program}: the measure does not hear a cold start");
    }
}

/// Speech in two languages, a film with music and effects, two animated ones, a soft recording.
const FILMS: [&str; 6] = [
    "audio_only_eng.mp4",
    "audio_only_deu.mp4",
    "agent327_1080p24_tail88s.mp4",
    "bbb_30s_faststart.mp4",
    "ts_cea608_every_frame.ts",
    "flv_h264_360p30_19s.flv",
];

#[test]
fn sound_of_real_films_behind_joins_is_as_good_as_in_one_encode() {
    let Some(corpus) = std::env::var_os("REELMILL_CORPUS").map(PathBuf::from) else { return };
    // for a table of more: as many joins in each film, behind pre-rolls of several lengths
    let many: Option<u64> = std::env::var("REELMILL_JOINS").ok().map(|n| n.parse().unwrap());
    let pre_rolls: &[u64] = if many.is_some() { &[PLANNED, 1024, 512, 256, COLD] } else { &[PLANNED] };
    std::thread::scope(|scope| {
        for program in binaries() {
            let corpus = &corpus;
            scope.spawn(move || {
                let mut everywhere = Vec::new();
                for name in FILMS {
                    let dir = dir();
                    let source = corpus.join(name).to_string_lossy().into_owned();
                    let film = pcm(&dir.path().join("a.wav"), "-stream_loop 20", &source, "-map 0:a:0");
                    let found = behind_joins(&program, dir.path(), &film, many.unwrap_or(2), pre_rolls);
                    for (differences, pre_roll) in found.iter().zip(pre_rolls) {
                        let all = told(&format!("{program}: {name}"), *pre_roll, differences);
                        // two joins say little of one film: encodes that begin elsewhere differ as much
                        let holds = many.is_none() || all.mean <= BOUND && all.power <= BOUND;
                        assert!(*pre_roll != PLANNED || holds, "{program}: {name}");
                    }
                    everywhere.extend_from_slice(&found[0]);
                }
                let all = told(&format!("{program}: all films"), PLANNED, &everywhere);
                assert!(everywhere.len() >= FILMS.len(), "{program}: {} joins", everywhere.len());
                assert!(all.mean <= BOUND && all.power <= BOUND, "{program}");
            });
        }
    });
}
