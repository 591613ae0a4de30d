//! ISO BMFF boxes: walking over those that came in, writing those that go out.
//!
//! Walking is by header only and never allocates; the content of a box is decoded by mp4-atom where that crate knows
//! it ([`decode`]). Writing is our own, because the package's bytes must not change when a dependency does.

use mp4_atom::{Atom, DecodeAtom, FourCC, Header};

/// A box within a buffer.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Found<'a> {
    /// Its four-character code.
    pub(crate) kind: [u8; 4],
    /// Where its header starts, from the start of the buffer walked over.
    pub(crate) start: usize,
    /// Bytes of its header.
    pub(crate) head: usize,
    /// What follows the header.
    pub(crate) body: &'a [u8],
}

impl Found<'_> {
    /// Where it ends, counted as `start` is.
    pub(crate) fn end(&self) -> usize {
        self.start + self.head + self.body.len()
    }

    /// The code as text, for messages.
    pub(crate) fn name(&self) -> String {
        fourcc(self.kind)
    }
}

/// A four-character code as text; what does not print becomes `.`.
pub(crate) fn fourcc(kind: [u8; 4]) -> String {
    kind.iter().map(|b| if b.is_ascii_graphic() || *b == b' ' { *b as char } else { '.' }).collect()
}

/// A box's header: kind, bytes of the header, and of the whole box (`None`: to the end of what encloses it).
pub(crate) type Head = ([u8; 4], u64, Option<u64>);

/// The next box's header in `bytes`. `Ok(None)` when more bytes are needed to say.
pub(crate) fn header(bytes: &[u8]) -> Result<Option<Head>, String> {
    let Some((head, rest)) = bytes.split_first_chunk::<8>() else { return Ok(None) };
    let [a, b, c, d, kind @ ..] = *head;
    let (header, size) = match u32::from_be_bytes([a, b, c, d]) {
        0 => return Ok(Some((kind, 8, None))),
        1 => match rest.first_chunk::<8>() {
            Some(size) => (16, u64::from_be_bytes(*size)),
            None => return Ok(None),
        },
        n => (8, u64::from(n)),
    };
    if size < header {
        return Err(format!("box {} says it has {size} bytes", fourcc(kind)));
    }
    Ok(Some((kind, header, Some(size))))
}

/// Walks over the boxes in a buffer. Fewer than eight bytes after the last one are padding, as QuickTime writes.
pub(crate) fn children(body: &[u8]) -> Children<'_> {
    Children { body, at: 0 }
}

/// See [`children`].
#[derive(Debug)]
pub(crate) struct Children<'a> {
    body: &'a [u8],
    at: usize,
}

impl<'a> Iterator for Children<'a> {
    type Item = Result<Found<'a>, String>;

    fn next(&mut self) -> Option<Self::Item> {
        let start = self.at;
        let rest = &self.body[start..];
        let found = match header(rest) {
            Err(why) => Err(why),
            Ok(None) => return None,
            Ok(Some((kind, head, size))) => {
                let size = size.unwrap_or(rest.len() as u64);
                match usize::try_from(size).ok().and_then(|size| rest.get(head as usize..size)) {
                    Some(body) => {
                        self.at += size as usize;
                        Ok(Found { kind, start, head: head as usize, body })
                    }
                    None => Err(format!("box {} reaches over the end of what holds it", fourcc(kind))),
                }
            }
        };
        if found.is_err() {
            self.at = self.body.len();
        }
        Some(found)
    }
}

/// The only child of a kind. `Ok(None)`: there is none; two are an error.
pub(crate) fn child<'a>(body: &'a [u8], kind: &[u8; 4]) -> Result<Option<Found<'a>>, String> {
    let mut found = None;
    for child in children(body) {
        let child = child?;
        if child.kind == *kind && found.replace(child).is_some() {
            return Err(format!("box {} appears twice", fourcc(*kind)));
        }
    }
    Ok(found)
}

/// The only child of a kind, which must be there.
pub(crate) fn need<'a>(body: &'a [u8], kind: &[u8; 4]) -> Result<Found<'a>, String> {
    child(body, kind)?.ok_or_else(|| format!("box {} is missing", fourcc(*kind)))
}

/// Decodes a box's content with mp4-atom.
pub(crate) fn decode<A: Atom>(found: Found<'_>) -> Result<A, String> {
    let header = Header { kind: FourCC::from(&found.kind), size: Some(found.body.len()) };
    A::decode_atom(&header, &mut &found.body[..]).map_err(|e| format!("box {}: {e}", found.name()))
}

/// Appends a box whose content `write` appends.
pub(crate) fn put_box(out: &mut Vec<u8>, kind: &[u8; 4], write: impl FnOnce(&mut Vec<u8>)) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    out.extend_from_slice(kind);
    write(out);
    // boxes of ours are far below 4 GiB: the segment writer checks before it begins
    let size = (out.len() - start) as u32;
    out[start..start + 4].copy_from_slice(&size.to_be_bytes());
}

/// Appends a box with version and flags.
pub(crate) fn put_full(
    out: &mut Vec<u8>,
    kind: &[u8; 4],
    version: u8,
    flags: u32,
    write: impl FnOnce(&mut Vec<u8>),
) {
    put_box(out, kind, |out| {
        put32(out, u32::from(version) << 24 | flags);
        write(out);
    });
}

/// Appends a 16-bit big-endian number.
pub(crate) fn put16(out: &mut Vec<u8>, v: u16) {
    out.extend_from_slice(&v.to_be_bytes());
}

/// Appends a 32-bit big-endian number.
pub(crate) fn put32(out: &mut Vec<u8>, v: u32) {
    out.extend_from_slice(&v.to_be_bytes());
}

/// Appends a 64-bit big-endian number.
pub(crate) fn put64(out: &mut Vec<u8>, v: u64) {
    out.extend_from_slice(&v.to_be_bytes());
}

/// Appends `n` zero bytes.
pub(crate) fn put_zeros(out: &mut Vec<u8>, n: usize) {
    out.resize(out.len() + n, 0);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_boxes_are_walked_over_again() {
        let mut out = Vec::new();
        put_box(&mut out, b"moof", |out| put_full(out, b"mfhd", 0, 0, |out| put32(out, 7)));
        put_box(&mut out, b"mdat", |out| out.extend_from_slice(b"abc"));
        put_zeros(&mut out, 4);
        let found: Vec<_> = children(&out).map(|c| c.map(|c| (c.name(), c.start, c.body.len()))).collect();
        assert_eq!(found, vec![Ok(("moof".into(), 0, 16)), Ok(("mdat".into(), 24, 3))]);
    }

    #[test]
    fn sizes_that_lie_are_errors() {
        let bad: [&[u8]; 3] = [b"\0\0\0\x07abcd", b"\0\0\0\x20abcd", b"\0\0\0\x01abcd\0\0\0\0\0\0\0\x0f"];
        for bytes in bad {
            assert!(children(bytes).next().is_some_and(|c| c.is_err()), "{bytes:?}");
        }
        let large = b"\0\0\0\x01abcd\xff\xff\xff\xff\xff\xff\xff\xff";
        assert!(children(large).next().is_some_and(|c| c.is_err()));
        assert!(child(b"\0\0\0\x08abcd\0\0\0\x08abcd", b"abcd").is_err());
    }
}
