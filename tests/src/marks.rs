//! Marks in a picture: drawn into made films, read back from whatever a transcoder made of them.
//!
//! A picture is a grid of 8 x 8 cells. The upper half carries 32 black or white cells: a 24-bit frame counter and an
//! 8-bit checksum of it, so that a blend of two frames or a broken frame reads as no number at all. The lower half
//! carries eight colour bars that move by one bar a frame: a lost frame, exchanged colour planes or a wrong matrix
//! show there. Cells survive scaling to 240 lines and a low bit rate; they cannot be produced by anything but the
//! very frame.

use crate::tool;
use anyhow::{Context, Result, bail};
use std::path::Path;
use std::time::Duration;

/// Cells in a row, and rows.
pub const CELLS: usize = 8;
/// Side of the square picture that the reader asks ffmpeg for: four samples a cell.
const SIDE: usize = 32;

/// 75 % colour bars, BT.709 limited range, as (Y, U, V).
const BARS: [[u8; 3]; CELLS] = [
    [180, 128, 128],
    [168, 44, 136],
    [145, 147, 44],
    [133, 63, 52],
    [63, 193, 204],
    [51, 109, 212],
    [28, 212, 120],
    [16, 128, 128],
];
/// How far a decoded bar may be off in each plane.
const COLOUR_TOLERANCE: i32 = 14;

/// The 32 cells of a counter: 24 bits of number, 8 of checksum.
fn code(counter: u32) -> u32 {
    let number = counter & 0x00ff_ffff;
    let mixed = number.wrapping_mul(0x9e37_79b1);
    number | (mixed & 0xff00_0000)
}

/// What cell (column, row) of a frame shows, as (Y, U, V).
fn cell(counter: u32, column: usize, row: usize) -> [u8; 3] {
    if row < CELLS / 2 {
        let bit = code(counter) >> (row * CELLS + column) & 1;
        if bit == 1 { [235, 128, 128] } else { [16, 128, 128] }
    } else {
        BARS[(column + counter as usize) % CELLS]
    }
}

/// Draws a frame as planar 4:2:0, appending to `out`. Width and height are even.
pub fn draw(counter: u32, width: usize, height: usize, out: &mut Vec<u8>) {
    for plane in 0..3 {
        let (w, h) = if plane == 0 { (width, height) } else { (width / 2, height / 2) };
        // the lines of a row of cells are alike
        let lines: Vec<Vec<u8>> = (0..CELLS)
            .map(|row| (0..w).map(|x| cell(counter, x * CELLS / w, row)[plane]).collect())
            .collect();
        for y in 0..h {
            out.extend_from_slice(&lines[y * CELLS / h]);
        }
    }
}

/// One frame as it was read.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Mark {
    /// Presentation time in ticks of the reading's timebase.
    pub pts: i64,
    /// The frame counter; `None` if the cells are no valid number.
    pub counter: Option<u32>,
    /// Are the colour bars those of this very counter?
    pub colours: bool,
}

/// All frames of a stream in the order a player shows them.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Reading {
    /// Seconds a tick lasts, as (numerator, denominator).
    pub timebase: (i64, i64),
    /// The frames.
    pub marks: Vec<Mark>,
    /// What the decoder complained about.
    pub complaints: Vec<String>,
}

/// A decoded stream of small pictures: times, and the planes of each frame (SIDE x SIDE, 4:4:4).
pub struct Pictures {
    /// Seconds a tick lasts, as (numerator, denominator).
    pub timebase: (i64, i64),
    /// Presentation times.
    pub pts: Vec<i64>,
    /// One picture a frame: three planes of [`Pictures::SAMPLES`] bytes.
    pub frames: Vec<Vec<u8>>,
    /// What the decoder complained about.
    pub complaints: Vec<String>,
}

impl Pictures {
    /// Samples of one plane.
    pub const SAMPLES: usize = SIDE * SIDE;

    /// Decodes the first video stream of a file as ffmpeg presents it, with its own times.
    pub fn decode(path: &Path) -> Result<Self> {
        let filter = format!("scale={SIDE}:{SIDE}:flags=area,format=yuv444p,showinfo=checksum=0");
        let mut command = tool::ffmpeg();
        command.args(["-v", "info", "-nostats", "-copyts", "-i"]).arg(path);
        command.args(["-map", "0:v:0", "-fps_mode", "passthrough", "-vf", &filter, "-f", "rawvideo", "-"]);
        let done = tool::run(&mut command, Duration::from_secs(240))?.success()?;
        let mut timebase = None;
        let (mut pts, mut complaints) = (Vec::new(), Vec::new());
        for line in done.stderr.lines() {
            if let Some(rest) = line.split("config in time_base: ").nth(1) {
                let (num, den) = rest.split(',').next().unwrap_or("").split_once('/').context("time base")?;
                timebase = Some((num.trim().parse()?, den.trim().parse()?));
            } else if line.contains("showinfo") && line.contains(" pts:") {
                let text = line.split(" pts:").nth(1).and_then(|r| r.split_whitespace().next());
                pts.push(text.context("pts")?.parse().with_context(|| format!("no time in: {line}"))?);
            } else if line.contains("error") || line.contains("Invalid") || line.contains("corrupt") {
                complaints.push(line.to_owned());
            }
        }
        let frames: Vec<Vec<u8>> = done.stdout.chunks(3 * Self::SAMPLES).map(<[u8]>::to_vec).collect();
        if frames.len() != pts.len() {
            bail!("{} pictures and {} times in {}", frames.len(), pts.len(), path.display());
        }
        Ok(Self { timebase: timebase.unwrap_or((1, 1)), pts, frames, complaints })
    }
}

/// Reads the marks of the first video stream of a file.
pub fn read(path: &Path) -> Result<Reading> {
    let pictures = Pictures::decode(path)?;
    let marks = pictures
        .pts
        .iter()
        .zip(&pictures.frames)
        .map(|(pts, frame)| {
            let counter = counter_of(frame);
            Mark { pts: *pts, counter, colours: counter.is_some_and(|c| colours_match(frame, c)) }
        })
        .collect();
    Ok(Reading { timebase: pictures.timebase, marks, complaints: pictures.complaints })
}

/// Mean of the inner samples of a cell.
fn mean(frame: &[u8], plane: usize, column: usize, row: usize) -> i32 {
    let per_cell = SIDE / CELLS;
    let (left, top) = (column * per_cell + 1, row * per_cell + 1);
    let mut sum = 0;
    for y in top..top + per_cell - 2 {
        for x in left..left + per_cell - 2 {
            sum += i32::from(frame[plane * Pictures::SAMPLES + y * SIDE + x]);
        }
    }
    sum / ((per_cell - 2) * (per_cell - 2)) as i32
}

fn counter_of(frame: &[u8]) -> Option<u32> {
    let mut bits = 0u32;
    for row in 0..CELLS / 2 {
        for column in 0..CELLS {
            match mean(frame, 0, column, row) {
                0..=80 => {}
                170..=255 => bits |= 1 << (row * CELLS + column),
                _ => return None,
            }
        }
    }
    let number = bits & 0x00ff_ffff;
    (code(number) == bits).then_some(number)
}

fn colours_match(frame: &[u8], counter: u32) -> bool {
    (CELLS / 2..CELLS).all(|row| {
        (0..CELLS).all(|column| {
            let wanted = cell(counter, column, row);
            (0..3).all(|p| (mean(frame, p, column, row) - i32::from(wanted[p])).abs() <= COLOUR_TOLERANCE)
        })
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The reader's small picture of a drawn frame, without ffmpeg.
    fn small(counter: u32) -> Vec<u8> {
        let mut picture = Vec::new();
        for plane in 0..3 {
            for y in 0..SIDE {
                for x in 0..SIDE {
                    picture.push(cell(counter, x * CELLS / SIDE, y * CELLS / SIDE)[plane]);
                }
            }
        }
        picture
    }

    #[test]
    fn every_counter_reads_back_and_no_neighbour_is_taken_for_it() {
        for counter in (0..1 << 24).step_by(65_521).chain([1, 2, 0xff_ffff]) {
            let picture = small(counter);
            assert_eq!(counter_of(&picture), Some(counter));
            assert!(colours_match(&picture, counter));
            assert!(!colours_match(&picture, counter + 1));
        }
    }

    #[test]
    fn a_blend_of_two_frames_is_no_number() {
        let (a, b) = (small(1000), small(1001));
        let blend: Vec<u8> = a.iter().zip(&b).map(|(x, y)| x.midpoint(*y)).collect();
        assert_eq!(counter_of(&blend), None);
    }

    #[test]
    fn exchanged_colour_planes_do_not_match() {
        let mut picture = small(77);
        let (u, v) = picture[Pictures::SAMPLES..].split_at_mut(Pictures::SAMPLES);
        u.swap_with_slice(v);
        assert_eq!(counter_of(&picture), Some(77));
        assert!(!colours_match(&picture, 77));
    }
}
