//! NAL units of one access unit (ITU-T H.264, 7.4.1; ISO/IEC 14496-15, 5.3.4): as much as says that a decoder which
//! was given the bound configuration, and nothing else, can take it.

/// Checks an access unit and says whether it is an IDR picture.
///
/// # Errors
/// What is wrong with it: lengths that do not add up, no picture, IDR and other slices together, or a parameter set
/// other than the bound ones (which the init segment alone gives to players).
pub(super) fn is_idr(sample: &[u8], avcc: &[u8]) -> Result<bool, String> {
    const SLICE: u8 = 1;
    const IDR: u8 = 5;
    const SPS: u8 = 7;
    const PPS: u8 = 8;
    let (mut idr, mut other) = (false, false);
    for unit in units(sample, length_size(avcc)) {
        let unit = unit.ok_or("its NAL units do not fill it")?;
        match unit.first().map(|b| b & 0x1f) {
            Some(SLICE) => other = true,
            Some(IDR) => idr = true,
            Some(SPS | PPS) if !bound_sets(avcc).any(|set| set == unit) => {
                return Err("it carries a parameter set that is not the bound one".to_owned());
            }
            Some(_) => {}
            None => return Err("it has an empty NAL unit".to_owned()),
        }
    }
    match (idr, other) {
        (true, true) => Err("it mixes slices of IDR and other pictures".to_owned()),
        (false, false) => Err("it holds no picture".to_owned()),
        (idr, _) => Ok(idr),
    }
}

/// Bytes of the length before each NAL unit, as the record says.
fn length_size(avcc: &[u8]) -> usize {
    avcc.get(4).map_or(4, |b| usize::from(b & 3) + 1)
}

/// Units with a big-endian length before each; `None`, and no more, where a length does not fit.
fn units(bytes: &[u8], length_size: usize) -> impl Iterator<Item = Option<&[u8]>> {
    let mut rest = Some(bytes).filter(|b| !b.is_empty());
    std::iter::from_fn(move || {
        let taken = rest.take()?.split_at_checked(length_size).and_then(|(prefix, body)| {
            body.split_at_checked(prefix.iter().fold(0usize, |n, b| n << 8 | usize::from(*b)))
        });
        rest = taken.map(|(_, after)| after).filter(|after| !after.is_empty());
        Some(taken.map(|(unit, _)| unit))
    })
}

/// SPS and PPS of an AVCDecoderConfigurationRecord (ISO/IEC 14496-15, 5.3.3.1): two counted lists, lengths of two
/// bytes.
fn bound_sets(avcc: &[u8]) -> impl Iterator<Item = &[u8]> {
    let mut sets = Vec::new();
    let mut rest = avcc.get(5..).unwrap_or_default();
    for count_bits in [0x1f, 0xff] {
        let Some((count, mut lists)) = rest.split_first() else { break };
        for _ in 0..count & count_bits {
            let Some((length, body)) = lists.split_first_chunk::<2>() else { break };
            let Some((set, after)) = body.split_at_checked(usize::from(u16::from_be_bytes(*length))) else {
                break;
            };
            sets.push(set);
            lists = after;
        }
        rest = lists;
    }
    sets.into_iter()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// One SPS `67 01`, one PPS `68 02`.
    const AVCC: [u8; 15] = [1, 0x64, 0, 10, 0xff, 0xe1, 0, 2, 0x67, 1, 1, 0, 2, 0x68, 2];

    fn sample(units: &[&[u8]]) -> Vec<u8> {
        units.iter().flat_map(|u| [&(u.len() as u32).to_be_bytes(), *u].concat()).collect()
    }

    #[test]
    fn pictures_are_told_apart() {
        let (sei, idr, other): (&[u8], &[u8], &[u8]) = (&[6, 5, 1], &[0x65, 9, 9], &[0x41, 9]);
        assert_eq!(is_idr(&sample(&[sei, idr, idr]), &AVCC), Ok(true));
        assert_eq!(is_idr(&sample(&[sei, other]), &AVCC), Ok(false));
        assert_eq!(is_idr(&sample(&[&[0x67, 1], &[0x68, 2], idr]), &AVCC), Ok(true), "the bound sets");
        let says = |s: &[u8], what: &str| {
            let e = is_idr(s, &AVCC).expect_err(what);
            assert!(e.contains(what), "{e}");
        };
        says(&sample(&[idr, other]), "mixes");
        says(&sample(&[sei]), "no picture");
        says(&[], "no picture");
        says(&sample(&[&[], idr]), "empty NAL unit");
        says(&sample(&[&[0x67, 2], idr]), "parameter set");
        says(&sample(&[&[0x68, 2, 0], idr]), "parameter set");
        let whole = sample(&[sei, idr]);
        for cut in (1..whole.len()).filter(|cut| *cut != 7) {
            says(&whole[..cut], "do not fill it");
        }
    }
}
