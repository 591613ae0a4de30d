//! The first look at a file: which demuxer to force, or why not even to try.
//!
//! ffmpeg is never allowed to guess. Text (playlists, manifests, ffconcat scripts, SVG, HTML) is refused here with a
//! reason before any tool sees it, because such files name other files. Binary data this module does not know
//! (`Ok(None)`) may still go to a scan under a format whitelist. Data comes from the head of the source; nothing is
//! parsed beyond magic numbers.

use crate::error::IndexError;
use reelmill_common::index::Demuxer;

/// Bytes of a source's head that [`probe_format`] looks at; fewer are fine when the source is shorter.
pub const HEAD_BYTES: usize = 4096;

/// Which demuxer reads a file that begins with `head`. `Ok(None)`: binary, but not known by its first bytes.
///
/// # Errors
/// [`IndexError::NoMedia`] for what is certainly no film: nothing at all, text of any kind, pictures, archives.
pub fn probe_format(head: &[u8]) -> Result<Option<Demuxer>, IndexError> {
    let head = &head[..head.len().min(HEAD_BYTES)];
    if head.is_empty() {
        return Err(IndexError::no_media("it is empty (0 bytes)"));
    }
    if let Some(found) = known(head) {
        return Ok(Some(found));
    }
    if let Some(what) = text_kind(head).or_else(|| other_kind(head)) {
        return Err(IndexError::no_media(format!("it is {what}")));
    }
    Ok(None)
}

fn known(head: &[u8]) -> Option<Demuxer> {
    let at = |offset: usize, magic: &[u8]| head.get(offset..offset + magic.len()) == Some(magic);
    let boxed: [&[u8; 4]; 9] =
        [b"ftyp", b"moov", b"mdat", b"free", b"skip", b"wide", b"styp", b"moof", b"pnot"];
    if boxed.iter().any(|kind| at(4, *kind)) {
        return Some(Demuxer::Mov);
    }
    if at(0, &[0x1A, 0x45, 0xDF, 0xA3]) {
        return Some(Demuxer::Matroska);
    }
    if at(0, b"FLV\x01") {
        return Some(Demuxer::Flv);
    }
    if at(0, b"RIFF") && (at(8, b"AVI ") || at(8, b"AVIX")) {
        return Some(Demuxer::Avi);
    }
    if (at(0, b"RIFF") || at(0, b"RF64")) && at(8, b"WAVE") {
        return Some(Demuxer::Wav);
    }
    if at(0, b"OggS") {
        return Some(Demuxer::Ogg);
    }
    if at(0, &[0x30, 0x26, 0xB2, 0x75, 0x8E, 0x66, 0xCF, 0x11]) {
        return Some(Demuxer::Asf);
    }
    if at(0, &[0x06, 0x0E, 0x2B, 0x34, 0x02, 0x05, 0x01, 0x01]) {
        return Some(Demuxer::Mxf);
    }
    if at(0, b"fLaC") {
        return Some(Demuxer::Flac);
    }
    if at(0, &[0, 0, 1, 0xBA]) {
        return Some(Demuxer::MpegPs);
    }
    if is_transport_stream(head) {
        return Some(Demuxer::MpegTs);
    }
    raw_audio(head)
}

/// Sync bytes at a packet distance of 188 (plain), 192 (M2TS) or 204 (with parity), whatever the first offset.
fn is_transport_stream(head: &[u8]) -> bool {
    [188usize, 192, 204].into_iter().any(|packet| {
        (0..packet.min(head.len())).any(|first| {
            let mut syncs = head[first..].iter().step_by(packet);
            let full = head.len().saturating_sub(first).div_ceil(packet);
            full >= 4 && syncs.by_ref().take(full.min(16)).all(|b| *b == 0x47)
        })
    })
}

/// ADTS AAC and MP3 have no magic number but their sync word; an ID3 tag announces MP3 in practice.
fn raw_audio(head: &[u8]) -> Option<Demuxer> {
    match head {
        [b'I', b'D', b'3', 2..=4, ..] => Some(Demuxer::Mp3),
        [0xFF, b1, b2, ..] if b1 & 0xF6 == 0xF0 && (b2 >> 2) & 15 < 13 => Some(Demuxer::Aac),
        [0xFF, b1, b2, ..] if b1 & 0xE6 == 0xE2 && b2 >> 4 != 15 && b2 & 0x0C != 0x0C => Some(Demuxer::Mp3),
        _ => None,
    }
}

fn text_kind(head: &[u8]) -> Option<&'static str> {
    if matches!(head, [0xFE, 0xFF, ..] | [0xFF, 0xFE, ..]) {
        return Some("UTF-16 text");
    }
    let body = head.strip_prefix(&[0xEF, 0xBB, 0xBF]).unwrap_or(head);
    let start = body.iter().position(|b| !b.is_ascii_whitespace()).unwrap_or(body.len());
    let first: String = body[start..].iter().take(512).map(|b| b.to_ascii_lowercase() as char).collect();
    let named = [
        ("#extm3u", "an HLS playlist, not a film"),
        ("ffconcat", "an ffconcat script, not a film"),
        ("<!doctype html", "an HTML page (a download that went wrong?)"),
        ("<html", "an HTML page (a download that went wrong?)"),
        ("<svg", "an SVG drawing"),
        ("<mpd", "a DASH manifest, not a film"),
        ("v=0", "an SDP description, not a film"),
        ("webvtt", "WebVTT subtitles"),
        ("{", "JSON or other structured text"),
    ];
    if let Some((_, what)) = named.iter().find(|(prefix, _)| first.starts_with(prefix)) {
        return Some(what);
    }
    if first.starts_with("<?xml") {
        let inner = [("<mpd", "a DASH manifest, not a film"), ("<svg", "an SVG drawing")];
        return Some(inner.iter().find(|(tag, _)| first.contains(tag)).map_or("an XML document", |(_, w)| w));
    }
    let printable = |b: &u8| b.is_ascii_graphic() || b.is_ascii_whitespace() || *b >= 0x80;
    // the head may end in the middle of a character
    let utf8 = std::str::from_utf8(body).map_or_else(|e| e.error_len().is_none(), |_| true);
    let text = utf8 && body.iter().all(printable);
    text.then_some("plain text")
}

fn other_kind(head: &[u8]) -> Option<&'static str> {
    let kinds: [(&[u8], &str); 8] = [
        (b"\x89PNG\r\n", "a PNG picture"),
        (b"\xFF\xD8\xFF", "a JPEG picture"),
        (b"GIF8", "a GIF picture"),
        (b"PK\x03\x04", "a ZIP archive"),
        (b"\x1F\x8B", "a gzip file"),
        (b"%PDF", "a PDF document"),
        (b"\x7FELF", "a program"),
        (b"7z\xBC\xAF", "a 7-Zip archive"),
    ];
    kinds.iter().find(|(magic, _)| head.starts_with(magic)).map(|(_, what)| *what)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(head: &[u8]) -> String {
        probe_format(head).unwrap_err().to_string()
    }

    #[test]
    fn containers_are_known_by_their_magic() {
        let mut ts = vec![0u8; 188 * 5];
        (0..5).for_each(|i| ts[188 * i] = 0x47);
        let cases: [(&[u8], Demuxer); 9] = [
            (b"\0\0\0\x18ftypisom", Demuxer::Mov),
            (b"\0\0\0\x08wide\0\0\0\0mdat", Demuxer::Mov),
            (&[0x1A, 0x45, 0xDF, 0xA3, 1], Demuxer::Matroska),
            (b"RIFF\0\0\0\0AVI LIST", Demuxer::Avi),
            (b"RIFF\0\0\0\0WAVEfmt ", Demuxer::Wav),
            (b"FLV\x01\x05", Demuxer::Flv),
            (&ts, Demuxer::MpegTs),
            (&[0xFF, 0xF1, 0x50, 0x80, 0], Demuxer::Aac),
            (&[0xFF, 0xFB, 0x90, 0x64, 0], Demuxer::Mp3),
        ];
        for (head, want) in cases {
            assert_eq!(probe_format(head), Ok(Some(want)), "{head:?}");
        }
    }

    #[test]
    fn text_that_names_other_files_is_refused_by_name() {
        assert!(refused(b"").contains("empty"));
        assert!(refused(b"\xEF\xBB\xBF  \n#EXTM3U\n#EXTINF:1,\nhttp://a/b.ts").contains("HLS playlist"));
        assert!(refused(b"ffconcat version 1.0\nfile /etc/passwd").contains("ffconcat"));
        assert!(refused(b"<?xml version=\"1.0\"?><MPD xmlns=\"x\">").contains("DASH"));
        assert!(refused(b"<svg xmlns=\"http://www.w3.org/2000/svg\">").contains("SVG"));
        assert!(refused(b"<!DOCTYPE html><html>").contains("HTML"));
        assert!(refused("just some words, größer".as_bytes()).contains("plain text"));
        assert!(refused(b"\x89PNG\r\n\x1a\n\0").contains("PNG"));
    }

    #[test]
    fn unknown_binary_is_left_to_the_scan() {
        assert_eq!(probe_format(&[7, 0, 200, 1, 3, 255, 0, 0]), Ok(None));
    }
}
