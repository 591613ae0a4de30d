//! A proxy in front of an object store that fails on order the way stores do: it refuses, hangs, breaks bodies off, and
//! does what it was asked and then says that it failed.
//!
//! It speaks just enough of HTTP/1.1 (RFC 9112) to know where a message ends: one request a connection. The `Host` header
//! is passed on as it came, so signatures hold.

use anyhow::{Context, Result, bail};
use std::io::{Read, Write};
use std::net::{Shutdown, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::Duration;

/// A way in which the store fails.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum StoreFault {
    /// `503 Slow Down`, and nothing was done.
    SlowDown,
    /// No answer, ever; nothing was done.
    Stall,
    /// The answer's body breaks off in the middle.
    Truncated,
    /// It is done, and the answer says `500`.
    ErrorAfter,
    /// A byte in the middle of the answer's body is another one. Of a film read so, other frames are made: only for tests
    /// that know what they damage.
    Damaged,
}

impl StoreFault {
    /// Every way in which a store fails that does not lie.
    pub const ALL: [Self; 4] = [Self::SlowDown, Self::Stall, Self::Truncated, Self::ErrorAfter];
}

/// How long a connection may be silent before it is given up, both ways.
const PATIENCE: Duration = Duration::from_secs(60);
/// The longest header that is read, in bytes.
const HEADER: usize = 64 << 10;

/// What is ordered, and how often it struck.
#[derive(Default)]
struct Orders {
    fault: Option<StoreFault>,
    /// Only requests whose path holds this.
    path: &'static str,
    left: u32,
    struck: u32,
}

/// The proxy. Its threads end with the process.
pub struct FaultyStore {
    orders: Arc<Mutex<Orders>>,
    /// Where it listens.
    pub port: u16,
}

impl FaultyStore {
    /// Listens at `address` in front of the store at `upstream` (`host:port`).
    pub fn start(address: &str, upstream: &str) -> Result<Self> {
        let listener = TcpListener::bind((address, 0))?;
        let port = listener.local_addr()?.port();
        let orders = Arc::new(Mutex::new(Orders::default()));
        let (shared, upstream) = (Arc::clone(&orders), upstream.to_owned());
        thread::spawn(move || {
            for client in listener.incoming().flatten() {
                let (shared, upstream) = (Arc::clone(&shared), upstream.clone());
                // a client that leaves in the middle is a client's business
                thread::spawn(move || serve(client, &upstream, &shared).ok());
            }
        });
        Ok(Self { orders, port })
    }

    /// The next `requests` that it can strike have this fault.
    pub fn order(&self, fault: StoreFault, requests: u32) {
        self.order_at("", fault, requests);
    }

    /// The next `requests` that it can strike, of those whose path holds `path`, have this fault.
    pub fn order_at(&self, path: &'static str, fault: StoreFault, requests: u32) {
        *lock(&self.orders) = Orders { fault: Some(fault), path, left: requests, struck: 0 };
    }

    /// Ends what was ordered; how many requests it struck.
    pub fn end(&self) -> u32 {
        std::mem::take(&mut *lock(&self.orders)).struck
    }

    /// How many requests were struck so far.
    pub fn struck(&self) -> u32 {
        lock(&self.orders).struck
    }
}

fn lock(orders: &Mutex<Orders>) -> MutexGuard<'_, Orders> {
    orders.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The fault of a request, if one is ordered and can strike it: only a read has a body to break off or damage, and only of
/// a write can something have been done.
fn strike(orders: &Mutex<Orders>, header: &str) -> Option<StoreFault> {
    let is_read = header.starts_with("GET ");
    let path = header.split_whitespace().nth(1).and_then(|target| target.split('?').next()).unwrap_or("");
    let mut orders = lock(orders);
    let fault = orders.fault.filter(|_| path.contains(orders.path)).filter(|fault| match fault {
        StoreFault::Truncated | StoreFault::Damaged => is_read,
        StoreFault::ErrorAfter => !is_read,
        StoreFault::SlowDown | StoreFault::Stall => true,
    })?;
    orders.left = orders.left.checked_sub(1)?;
    orders.struck += 1;
    Some(fault)
}

/// One request and its answer.
fn serve(mut client: TcpStream, upstream: &str, orders: &Mutex<Orders>) -> Result<()> {
    client.set_read_timeout(Some(PATIENCE))?;
    let (header, body) = message(&mut client)?;
    let fault = strike(orders, &header);
    match fault {
        Some(StoreFault::SlowDown) => return refuse(&mut client, "503 Slow Down"),
        Some(StoreFault::Stall) => {
            // until the client has had enough
            let mut byte = [0];
            while matches!(client.read(&mut byte), Ok(1..)) {}
            return Ok(());
        }
        _ => {}
    }
    let mut store = TcpStream::connect(upstream)?;
    store.set_read_timeout(Some(PATIENCE))?;
    store.write_all(closing(&header).as_bytes())?;
    store.write_all(&body)?;
    let mut answer = Vec::new();
    store.read_to_end(&mut answer)?;
    match fault {
        Some(StoreFault::ErrorAfter) => refuse(&mut client, "500 Internal Server Error"),
        Some(fault @ (StoreFault::Truncated | StoreFault::Damaged)) => {
            let end =
                answer.windows(4).position(|w| w == b"\r\n\r\n").context("an answer without a head")? + 4;
            let middle = end + (answer.len() - end) / 2;
            match answer.get_mut(middle) {
                Some(byte) if fault == StoreFault::Damaged => *byte ^= 0x55,
                _ => answer.truncate(middle),
            }
            client.write_all(&answer)?;
            Ok(client.shutdown(Shutdown::Both)?)
        }
        _ => {
            client.write_all(&answer)?;
            Ok(client.shutdown(Shutdown::Both)?)
        }
    }
}

fn refuse(client: &mut TcpStream, status: &str) -> Result<()> {
    write!(client, "HTTP/1.1 {status}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n")?;
    Ok(client.shutdown(Shutdown::Both)?)
}

/// A request's header with `Connection: close`, so that its answer ends with the connection.
fn closing(header: &str) -> String {
    let kept = header.trim_end().lines().filter(|line| !line.to_ascii_lowercase().starts_with("connection:"));
    format!("{}\r\nConnection: close\r\n\r\n", kept.collect::<Vec<_>>().join("\r\n"))
}

/// A request: its header and its body.
fn message(from: &mut TcpStream) -> Result<(String, Vec<u8>)> {
    let mut bytes = Vec::new();
    let mut piece = [0; 16 << 10];
    let end = loop {
        if let Some(end) = bytes.windows(4).position(|w| w == b"\r\n\r\n") {
            break end + 4;
        }
        let read = from.read(&mut piece)?;
        if read == 0 || bytes.len() > HEADER {
            bail!("no header");
        }
        bytes.extend_from_slice(&piece[..read]);
    };
    let mut body = bytes.split_off(end);
    let header = String::from_utf8(bytes)?;
    let length = header.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        name.eq_ignore_ascii_case("content-length").then(|| value.trim().parse().ok())?
    });
    while body.len() < length.unwrap_or(0) {
        let read = from.read(&mut piece)?;
        if read == 0 {
            bail!("the body broke off");
        }
        body.extend_from_slice(&piece[..read]);
    }
    Ok((header, body))
}
