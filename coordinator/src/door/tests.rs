//! Who is let in, who is hung up on, and when.

use super::*;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

async fn listener() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// The clock is the test's: where nothing happens, it runs to the next deadline.
#[tokio::test(start_paused = true)]
async fn a_connection_that_only_stays_is_closed_and_a_welcome_one_is_not() {
    let (listener, address) = listener().await;
    let shutdown = CancellationToken::new();
    let mut incoming = Door::new(Protocol::Http, None, 8).open(listener, None, &shutdown);
    let mut client = TcpStream::connect(address).await.unwrap();
    let mut idle = incoming.recv().await.unwrap().unwrap();
    let error = idle.read_u8().await.unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::TimedOut);

    let mut friend = TcpStream::connect(address).await.unwrap();
    let mut welcome = incoming.recv().await.unwrap().unwrap();
    welcome.peer().welcome();
    let late = async {
        tokio::time::sleep(PATIENCE * 3).await;
        friend.write_u8(7).await.unwrap();
    };
    let (read, ()) = tokio::join!(welcome.read_u8(), late);
    assert_eq!(read.unwrap(), 7);
    drop(idle);
    assert_eq!(client.read(&mut [0; 8]).await.unwrap(), 0, "it is hung up on");
}

#[tokio::test]
async fn no_more_connections_are_let_in_than_there_are_places() {
    let (listener, address) = listener().await;
    let shutdown = CancellationToken::new();
    let mut incoming = Door::new(Protocol::Grpc, None, 2).open(listener, None, &shutdown);
    let _clients = [
        TcpStream::connect(address).await.unwrap(),
        TcpStream::connect(address).await.unwrap(),
        TcpStream::connect(address).await.unwrap(),
    ];
    let first = incoming.recv().await.unwrap().unwrap();
    let _second = incoming.recv().await.unwrap().unwrap();
    assert!(incoming.try_recv().is_err());
    drop(first);
    assert!(incoming.recv().await.unwrap().is_ok(), "the place of the one that left");
}

#[tokio::test]
async fn the_own_door_is_told_apart() {
    let ((all, all_address), (own, own_address)) = (listener().await, listener().await);
    let shutdown = CancellationToken::new();
    let mut incoming = Door::new(Protocol::Grpc, None, 8).open(all, Some(own), &shutdown);
    let _first = TcpStream::connect(own_address).await.unwrap();
    assert!(incoming.recv().await.unwrap().unwrap().peer().is_own);
    let _second = TcpStream::connect(all_address).await.unwrap();
    assert!(!incoming.recv().await.unwrap().unwrap().peer().is_own);
    shutdown.cancel();
    assert!(incoming.recv().await.is_none(), "both are closed");
}
