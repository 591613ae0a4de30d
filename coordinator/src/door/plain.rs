//! What somebody is told who speaks without TLS to a port that wants it: a sentence in his own protocol, instead of a
//! connection that is reset.

use std::time::Duration;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;

const SAYS: &str = "this port speaks TLS: use https://";
/// A client that has been told is not listened to for longer.
const PATIENCE: Duration = Duration::from_secs(2);
/// Nor for more bytes.
const LISTENS: u64 = 64 << 10;
/// HTTP/2's INADEQUATE_SECURITY (RFC 9113, section 7).
const INADEQUATE_SECURITY: u32 = 0xc;

/// Does this first byte begin a TLS record of a handshake?
pub(super) fn is_tls(first: u8) -> bool {
    first == 0x16
}

/// Says it and hangs up.
pub(super) async fn tell(mut stream: TcpStream) {
    let mut start = [0; 4];
    let told = async {
        stream.read_exact(&mut start).await?;
        let answer = if start == *b"PRI " { http2() } else { http1() };
        stream.write_all(&answer).await
    };
    if matches!(tokio::time::timeout(PATIENCE, told).await, Ok(Ok(()))) {
        hang_up(stream).await;
    }
}

/// Ends a connection so that the last word is heard: bytes that nobody read would turn its end into a reset, and the
/// client would see that instead.
pub(super) async fn hang_up(mut stream: TcpStream) {
    let listened = async {
        stream.shutdown().await?;
        tokio::io::copy(&mut (&mut stream).take(LISTENS), &mut tokio::io::sink()).await
    };
    // a client that does not listen is no error of ours
    let _ = tokio::time::timeout(PATIENCE, listened).await;
}

fn http1() -> Vec<u8> {
    let length = SAYS.len() + 1;
    let head = "HTTP/1.1 400 Bad Request\r\nContent-Type: text/plain; charset=utf-8\r\nConnection: close";
    format!("{head}\r\nContent-Length: {length}\r\n\r\n{SAYS}\n").into_bytes()
}

/// An empty SETTINGS frame, which has to be first, and GOAWAY with the sentence as its debug data.
fn http2() -> Vec<u8> {
    let mut bytes = vec![0, 0, 0, 4, 0, 0, 0, 0, 0];
    let length = (8 + SAYS.len()) as u32;
    bytes.extend(&length.to_be_bytes()[1..]);
    bytes.extend([7, 0, 0, 0, 0, 0]);
    bytes.extend(0u32.to_be_bytes());
    bytes.extend(INADEQUATE_SECURITY.to_be_bytes());
    bytes.extend(SAYS.as_bytes());
    bytes
}
