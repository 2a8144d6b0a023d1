//! Listening sockets on their way to another process: file descriptors beside bytes of a Unix socket (`SCM_RIGHTS`, unix(7)).
//!
//! What is sent is another name for the same socket: connections that wait in its queue wait on, whoever takes them out.

use std::io::{Error, ErrorKind, IoSlice, IoSliceMut, Result};
use std::mem::MaybeUninit;
use std::net::TcpListener;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::cmsg_space;
use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, ReturnFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use tokio::io::Interest;
use tokio::net::UnixStream;

/// Sockets beside one byte; Linux takes 253 (unix(7)).
const AT_A_TIME: usize = 64;

/// The byte they are beside.
const MARK: &[u8] = b"*";

/// Sends sockets; what came before on the stream must have been read.
pub(super) async fn send(stream: &UnixStream, sockets: &[TcpListener]) -> Result<()> {
    for lot in sockets.chunks(AT_A_TIME) {
        let lot: Vec<BorrowedFd<'_>> = lot.iter().map(AsFd::as_fd).collect();
        let send = || {
            let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_A_TIME))];
            let mut beside = SendAncillaryBuffer::new(&mut space);
            if !beside.push(SendAncillaryMessage::ScmRights(&lot)) {
                return Err(Error::new(ErrorKind::InvalidInput, "too many sockets at a time"));
            }
            Ok(sendmsg(stream, &[IoSlice::new(MARK)], &mut beside, SendFlags::NOSIGNAL)?)
        };
        stream.async_io(Interest::WRITABLE, send).await?;
    }
    Ok(())
}

/// Receives so many sockets.
pub(super) async fn receive(stream: &UnixStream, count: usize) -> Result<Vec<TcpListener>> {
    let mut sockets = Vec::new();
    while sockets.len() < count {
        let lot = stream.async_io(Interest::READABLE, || receive_lot(stream)).await?;
        if lot.is_empty() {
            return Err(ErrorKind::UnexpectedEof.into());
        }
        sockets.extend(lot.into_iter().map(TcpListener::from));
    }
    Ok(sockets)
}

fn receive_lot(stream: &UnixStream) -> Result<Vec<OwnedFd>> {
    let mut space = [MaybeUninit::uninit(); cmsg_space!(ScmRights(AT_A_TIME))];
    let mut beside = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    let received = recvmsg(stream, &mut [IoSliceMut::new(&mut byte)], &mut beside, RecvFlags::CMSG_CLOEXEC)?;
    let mut lot = Vec::new();
    for message in beside.drain() {
        if let RecvAncillaryMessage::ScmRights(fds) = message {
            lot.extend(fds);
        }
    }
    if received.flags.contains(ReturnFlags::CTRUNC) {
        // Linux leaves out those that this process may not open any more.
        return Err(Error::other("not every socket arrived: raise the limit on open files (`ulimit -n`)"));
    }
    Ok(lot)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn sockets_arrive_whole_and_in_order_and_are_the_same_ones() {
        let (here, there) = UnixStream::pair().unwrap();
        let sent: Vec<TcpListener> =
            (0..AT_A_TIME + 2).map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).collect();
        let waiting = std::net::TcpStream::connect(sent[AT_A_TIME + 1].local_addr().unwrap()).unwrap();
        let (sending, received) = tokio::join!(send(&here, &sent), receive(&there, sent.len()));
        sending.unwrap();
        let received = received.unwrap();
        let addresses =
            |all: &[TcpListener]| all.iter().map(|one| one.local_addr().unwrap()).collect::<Vec<_>>();
        assert_eq!(addresses(&received), addresses(&sent));
        // Who had connected before is taken out of the queue here, with the first process gone.
        drop(sent);
        let (_, from) = received[AT_A_TIME + 1].accept().unwrap();
        assert_eq!(from, waiting.local_addr().unwrap());
        // The other end goes away before it has sent all.
        send(&here, &received[..1]).await.unwrap();
        drop(here);
        assert_eq!(receive(&there, 2).await.unwrap_err().kind(), ErrorKind::UnexpectedEof);
    }
}
