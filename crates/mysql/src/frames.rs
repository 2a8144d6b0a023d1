//! Compression of a stream: what is written goes out in compressed frames, and what comes in is unpacked.
//!
//! Above TLS, below packets. A write is done when the kernel has all of its frame, as on a plain stream. Nothing is kept while
//! nothing is on its way, so that an idle connection costs no more than the fields here.
//!
//! Sequence numbers: a frame from the peer has the number after the last frame's, whoever sent that, or begins anew with 0, since
//! the peer has begun another command. A server's packets are numbered anew behind each result, from its next frame's number on
//! (`net_flush` in `sql-common/net_serv.cc`); some clients rely on that.

use std::io;
use std::task::{Context, Poll, ready};

use tokio::io::ReadBuf;
use wire::compressed::{Algorithm, FRAME_HEADER_LEN, FrameHeader, pack};

use crate::stream::Beneath;

/// Bytes that go into one frame at most: compressing more at a time would keep the thread from its other connections.
const PLAIN_MAX: usize = 128 * 1024;
/// Bytes asked of the socket at a time.
const READ: usize = 16 * 1024;
/// What a frame may take, packed and unpacked, whatever its reader says, in bytes.
pub const FRAME_ROOM: usize = 16 * 1024;

/// The two directions of a compressed stream.
#[derive(Debug)]
pub(crate) struct Frames {
    algorithm: Algorithm,
    /// The next frame's sequence number.
    seq: u8,
    /// From the peer, not yet unpacked.
    packed: Vec<u8>,
    /// Unpacked; bytes before `read` were read.
    plain: Vec<u8>,
    read: usize,
    /// A frame on its way to the peer; bytes before `sent` are with the kernel.
    frame: Vec<u8>,
    sent: usize,
    /// Bytes of the write under way that are in `frame`.
    accepted: usize,
    /// What a frame from the peer may take, packed and unpacked, in bytes.
    room: usize,
    /// Behind the first result of several, until the next command: packets get numbers of their own.
    renumber: Option<Renumber>,
}

/// Where in the stream of packets written the next byte belongs, and the next packet's number.
#[derive(Debug, Default)]
struct Renumber {
    next: u8,
    /// Bytes of the header that have passed, and the length they say.
    header: u32,
    len: usize,
    /// Bytes of the payload still to pass.
    left: usize,
}

impl Renumber {
    fn patch(&mut self, mut bytes: &mut [u8]) {
        while let Some((byte, _)) = bytes.split_first_mut() {
            if self.left > 0 {
                let n = self.left.min(bytes.len());
                self.left -= n;
                bytes = &mut bytes[n..];
                continue;
            }
            if self.header < 3 {
                self.len |= usize::from(*byte) << (8 * self.header);
                self.header += 1;
            } else {
                *byte = self.next;
                *self = Self { next: self.next.wrapping_add(1), left: self.len, ..Self::default() };
            }
            bytes = &mut bytes[1..];
        }
    }
}

impl Frames {
    /// A stream that is compressed from here on; `early` is what the peer has sent of its first frames already.
    pub fn new(algorithm: Algorithm, early: &[u8]) -> Self {
        Self {
            algorithm,
            seq: 0,
            packed: early.to_vec(),
            plain: Vec::new(),
            read: 0,
            frame: Vec::new(),
            sent: 0,
            accepted: 0,
            room: usize::MAX,
            renumber: None,
        }
    }

    /// The packets written so far end a result, and another follows.
    pub fn begin_result(&mut self) {
        self.renumber = Some(Renumber { next: self.seq, ..Renumber::default() });
    }

    /// A frame that would take more bytes than this, packed and unpacked, is not read further: reading fails with
    /// [`io::ErrorKind::QuotaExceeded`], and goes on where it was once there is more room. [`FRAME_ROOM`] is always there.
    pub fn set_room(&mut self, bytes: usize) {
        self.room = bytes.max(FRAME_ROOM);
    }

    /// What the frame that is arriving takes, packed and unpacked, in bytes; 0 if that is not known yet.
    pub fn wanted(&self) -> usize {
        self.packed.first_chunk().map_or(0, |header| {
            let header = FrameHeader::parse(header);
            FRAME_HEADER_LEN + header.len + header.unpacked_len.max(header.len)
        })
    }

    /// Whether nothing from the peer is kept.
    pub fn is_empty(&self) -> bool {
        self.packed.is_empty() && self.plain.is_empty()
    }

    /// Waits for something to read; `false` at the end.
    pub fn poll_plain(&mut self, beneath: &mut Beneath<'_>, cx: &mut Context<'_>) -> Poll<io::Result<bool>> {
        loop {
            if self.read < self.plain.len() {
                return Poll::Ready(Ok(true));
            }
            let wanted = self.wanted();
            if wanted > self.room {
                return Poll::Ready(Err(io::ErrorKind::QuotaExceeded.into()));
            }
            if self.unpack_next()? {
                continue;
            }
            if let Some(header) = self.packed.first_chunk() {
                let all = FRAME_HEADER_LEN + FrameHeader::parse(header).len;
                self.packed.reserve_exact(all.saturating_sub(self.packed.len()));
            }
            let mut room = [0; READ];
            let mut room = ReadBuf::new(&mut room);
            ready!(beneath.poll_read(cx, &mut room))?;
            match room.filled() {
                [] if self.packed.is_empty() => return Poll::Ready(Ok(false)),
                [] => return Poll::Ready(Err(io::ErrorKind::UnexpectedEof.into())),
                bytes => self.packed.extend_from_slice(bytes),
            }
        }
    }

    /// Unpacks the next frame, if all of it is there.
    fn unpack_next(&mut self) -> io::Result<bool> {
        let Some((header, rest)) = self.packed.split_first_chunk::<FRAME_HEADER_LEN>() else {
            return Ok(false);
        };
        let header = FrameHeader::parse(header);
        let Some(body) = rest.get(..header.len) else { return Ok(false) };
        let invalid = |error| io::Error::new(io::ErrorKind::InvalidData, error);
        if header.seq != self.seq && header.seq != 0 {
            return Err(invalid(wire::WireError::Malformed("compressed frame out of sequence")));
        }
        (self.plain, self.read) = (Vec::new(), 0);
        header.unpack(body, self.algorithm, &mut self.plain).map_err(invalid)?;
        if header.seq == 0 {
            self.renumber = None;
        }
        self.seq = header.seq.wrapping_add(1);
        let all = FRAME_HEADER_LEN + header.len;
        match self.packed.len() == all {
            true => self.packed = Vec::new(),
            false => drop(self.packed.drain(..all)),
        }
        Ok(true)
    }

    /// Reads what has been unpacked, or waits for more; nothing at the end.
    pub fn poll_read(
        &mut self,
        beneath: &mut Beneath<'_>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        if ready!(self.poll_plain(beneath, cx))? {
            let n = buf.remaining().min(self.plain.len() - self.read);
            buf.put_slice(&self.plain[self.read..self.read + n]);
            self.read += n;
            if self.read == self.plain.len() {
                (self.plain, self.read) = (Vec::new(), 0);
            }
        }
        Poll::Ready(Ok(()))
    }

    /// Writes what goes into one frame. As with TLS, a write that was begun must be continued with the same bytes.
    pub fn poll_write(
        &mut self,
        beneath: &mut Beneath<'_>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<io::Result<usize>> {
        if self.accepted == 0 && !buf.is_empty() {
            let plain = &buf[..buf.len().min(PLAIN_MAX)];
            match &mut self.renumber {
                None => pack(&mut self.frame, self.seq, plain, self.algorithm),
                Some(renumber) => {
                    let mut plain = plain.to_vec();
                    renumber.patch(&mut plain);
                    pack(&mut self.frame, self.seq, &plain, self.algorithm);
                }
            }
            self.seq = self.seq.wrapping_add(1);
            self.accepted = plain.len();
        }
        while self.sent < self.frame.len() {
            let n = ready!(beneath.poll_write(cx, &self.frame[self.sent..]))?;
            if n == 0 {
                return Poll::Ready(Err(io::ErrorKind::WriteZero.into()));
            }
            self.sent += n;
        }
        (self.frame, self.sent) = (Vec::new(), 0);
        let written = std::mem::take(&mut self.accepted);
        if written > buf.len() {
            // Another write than the one that was given up half-way: the peer is out of step.
            return Poll::Ready(Err(io::ErrorKind::BrokenPipe.into()));
        }
        Poll::Ready(Ok(written))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_numbered_anew_wherever_they_are_cut() {
        let (mut packets, mut seq) = (Vec::new(), 9);
        for n in [1, 0, 300, 70_000] {
            wire::packet::frame(&mut packets, &mut seq, &vec![9; n]);
        }
        for piece in [1, 2, 3, 5, 299, packets.len()] {
            let mut patched = packets.clone();
            let mut renumber = Renumber { next: 254, ..Renumber::default() };
            patched.chunks_mut(piece).for_each(|bytes| renumber.patch(bytes));
            let (mut at, mut numbers) = (0, Vec::new());
            while let Some(header) = patched[at..].first_chunk() {
                let header = wire::packet::Header::parse(*header);
                numbers.push(header.seq);
                at += 4 + header.len;
            }
            assert_eq!(numbers, [254, 255, 0, 1], "{piece}");
        }
    }
}
