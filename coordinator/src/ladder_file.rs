//! Ladder files: a TOML list of boxes, read at the edge into the domain's words.
//!
//! ```toml
//! [[rung]]
//! name = "720p"
//! box = [1280, 720]      # long side, short side; turned for portrait films
//! max_rate_kbps = 3200   # this and all below may be left out: the nearest box of the default table decides
//! crf = "22.5"           # a string or a whole number; tenths are kept exactly
//! preset = "medium"
//! half_rate = false
//! ```
//!
//! Says nothing about whether the values make sense for a film: that is the plan's business.

use reelmill_common::ladder::{CustomRung, LadderChoice, X264Preset};
use serde::Deserialize;

/// Why a ladder file cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LadderFileError {
    /// Not TOML, an unknown key, or a value of the wrong type; tells line and column.
    #[error("{0}")]
    Syntax(String),
    /// A rung with a value that has no meaning.
    #[error("rung {rung:?}: {why}")]
    Rung {
        /// The rung's name.
        rung: String,
        /// What is wrong and what would be right.
        why: String,
    },
    /// No rung at all.
    #[error("the file has no [[rung]]; describe at least one")]
    Empty,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct File {
    #[serde(default)]
    rung: Vec<Rung>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rung {
    name: String,
    r#box: [u32; 2],
    max_rate_kbps: Option<u32>,
    crf: Option<Crf>,
    preset: Option<String>,
    half_rate: Option<bool>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Crf {
    Whole(u32),
    Text(String),
}

/// Reads a ladder file.
pub fn parse_toml(text: &str) -> Result<LadderChoice, LadderFileError> {
    let file: File =
        toml::from_str(text).map_err(|e| LadderFileError::Syntax(e.to_string().trim_end().to_owned()))?;
    if file.rung.is_empty() {
        return Err(LadderFileError::Empty);
    }
    Ok(LadderChoice::Custom(file.rung.into_iter().map(rung).collect::<Result<_, _>>()?))
}

fn rung(v: Rung) -> Result<CustomRung, LadderFileError> {
    let bad = |why: String| LadderFileError::Rung { rung: v.name.clone(), why };
    let [a, b] = v.r#box;
    let crf_tenths = v.crf.as_ref().map(|crf| tenths(crf).map_err(bad)).transpose()?;
    let preset = match v.preset.as_deref() {
        None => None,
        Some(name) => Some(X264Preset::parse(name).ok_or_else(|| {
            let known = X264Preset::ALL.map(X264Preset::name).join(", ");
            bad(format!("there is no preset {name:?}; use one of {known}"))
        })?),
    };
    Ok(CustomRung {
        long: a.max(b),
        short: a.min(b),
        max_rate_kbps: v.max_rate_kbps,
        crf_tenths,
        preset,
        half_rate: v.half_rate,
        name: v.name,
    })
}

/// A CRF with at most one decimal, in tenths: text, because a float would not hold 22.5's neighbours exactly.
fn tenths(crf: &Crf) -> Result<u32, String> {
    let bad = |text: &str| {
        format!("crf {text:?} is not a number from 0 to 51 with at most one decimal, as \"22.5\"")
    };
    let tenths = match crf {
        Crf::Whole(n) => n.checked_mul(10),
        Crf::Text(text) => {
            let (whole, decimal) = text.split_once('.').unwrap_or((text, "0"));
            match (whole.parse::<u32>(), decimal.parse::<u32>()) {
                (Ok(w), Ok(d)) if decimal.len() == 1 => w.checked_mul(10).and_then(|w| w.checked_add(d)),
                _ => None,
            }
        }
    };
    tenths.filter(|t| *t <= 510).ok_or_else(|| match crf {
        Crf::Whole(n) => bad(&n.to_string()),
        Crf::Text(text) => bad(text),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ladder_file_is_read() {
        let text = r#"
            [[rung]]
            name = "big"
            box = [720, 1280]
            max_rate_kbps = 3200
            crf = "22.5"
            preset = "slow"
            half_rate = true
            [[rung]]
            name = "small"
            box = [640, 360]
            crf = 21
        "#;
        let LadderChoice::Custom(rungs) = parse_toml(text).expect("read") else { panic!("custom") };
        assert_eq!(
            rungs[0],
            CustomRung {
                name: "big".to_owned(),
                long: 1280,
                short: 720,
                max_rate_kbps: Some(3200),
                crf_tenths: Some(225),
                preset: Some(X264Preset::Slow),
                half_rate: Some(true),
            }
        );
        assert_eq!((rungs[1].crf_tenths, rungs[1].preset), (Some(210), None));
    }

    #[test]
    fn what_is_wrong_is_said() {
        let cases = [
            ("", "no [[rung]]"),
            ("[[rung]]\nname = \"a\"", "missing field `box`"),
            ("[[rung]]\nname = \"a\"\nbox = [1, 2]\nbitrate = 3", "unknown field `bitrate`"),
            ("[[rung]]\nname = \"a\"\nbox = [1, 2]\npreset = \"warp\"", "ultrafast"),
            ("[[rung]]\nname = \"a\"\nbox = [1, 2]\ncrf = \"22.55\"", "one decimal"),
            ("[[rung]]\nname = \"a\"\nbox = [1, 2]\ncrf = 52", "0 to 51"),
            ("rung = ", "1"),
        ];
        for (text, says) in cases {
            let error = parse_toml(text).expect_err("refused").to_string();
            assert!(error.contains(says), "{text:?}: {error}");
        }
    }
}
