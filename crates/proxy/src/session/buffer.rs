//! Read buffers that exist only while there are bytes to read: an idle connection borrows none.
//!
//! A buffer's chunk comes from its thread's free list at the moment the socket has bytes, and goes back when the
//! last of them is consumed. So memory follows the connections that are busy, not the ones that are open.

use std::cell::RefCell;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use mysql::Stream;
use tokio::io::{AsyncRead, ReadBuf};

use crate::memory::{self, For};

/// Bytes of a pooled chunk: the most that one read asks of a socket.
pub(crate) const CHUNK: usize = 64 * 1024;

/// Bytes of what is used in a chunk's place while the door is short of memory: little enough to be counted as a part of the client.
const SMALL: usize = 4 * 1024;

/// Chunks a thread keeps for reuse; more are freed, so that a burst does not hold its memory for ever.
const KEPT: usize = 64;

thread_local! {
    static FREE: RefCell<Vec<Vec<u8>>> = const { RefCell::new(Vec::new()) };
}

/// Bytes read from a socket and not consumed yet.
#[derive(Debug, Default)]
pub(crate) struct Buffer {
    /// Empty while there is nothing to hold.
    chunk: Vec<u8>,
    start: usize,
    end: usize,
}

impl Buffer {
    /// What has been read and not consumed.
    pub fn data(&self) -> &[u8] {
        &self.chunk[self.start..self.end]
    }

    /// The same, to be changed in place.
    pub fn data_mut(&mut self) -> &mut [u8] {
        &mut self.chunk[self.start..self.end]
    }

    /// How many bytes [`Buffer::data`] holds.
    pub fn len(&self) -> usize {
        self.end - self.start
    }

    /// Bytes taken from the allocator that are counted.
    pub fn held(&self) -> usize {
        counted(self.chunk.len())
    }

    /// If it is full and has not `n` bytes: by how much it should grow next.
    pub fn lacks(&self, n: usize) -> Option<usize> {
        let (size, full) = (self.chunk.len(), self.start == 0 && self.end == self.chunk.len());
        let next = (size * 2).max(CHUNK).min(n);
        (full && size > 0 && next > size).then(|| next - size)
    }

    /// Grows by so many bytes, which the caller may take.
    pub fn grow(&mut self, more: usize) {
        let (before, after) = (self.chunk.len(), self.chunk.len() + more);
        memory::take(counted(after) - counted(before));
        self.chunk.reserve_exact(more);
        self.chunk.resize(after, 0);
    }

    /// Drops the first `n` bytes.
    pub fn consume(&mut self, n: usize) {
        self.start += n;
        assert!(self.start <= self.end, "no more can be consumed than was read");
        if self.start == self.end {
            self.give_back();
        }
    }

    /// Reads once and appends; 0 means the peer has closed. Safe to drop while waiting: nothing is lost.
    pub async fn fill(&mut self, stream: &mut Stream) -> io::Result<usize> {
        poll_fn(|cx| self.poll_fill(cx, stream)).await
    }

    /// Reads until at least `n` bytes are there.
    ///
    /// # Errors
    /// `UnexpectedEof` if the peer closes first.
    pub async fn fill_to(&mut self, stream: &mut Stream, n: usize) -> io::Result<()> {
        while self.len() < n {
            if self.fill(stream).await? == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
        }
        Ok(())
    }

    /// As [`Buffer::fill`], for callers that wait for something else too.
    pub fn poll_fill(&mut self, cx: &mut Context<'_>, stream: &mut Stream) -> Poll<io::Result<usize>> {
        self.make_room();
        let mut room = ReadBuf::new(&mut self.chunk[self.end..]);
        let polled = Pin::new(stream).poll_read(cx, &mut room);
        let n = room.filled().len();
        self.end += n;
        if self.start == self.end {
            self.give_back();
        }
        match polled {
            Poll::Ready(done) => Poll::Ready(done.map(|()| n)),
            Poll::Pending => Poll::Pending,
        }
    }

    fn make_room(&mut self) {
        if self.chunk.is_empty() {
            self.chunk = FREE.with_borrow_mut(Vec::pop).unwrap_or_else(another);
        } else if self.end == self.chunk.len() {
            match self.start {
                // Full of one packet that must be seen whole; callers bound how large that may be.
                0 => self.grow(self.chunk.len()),
                start => {
                    self.chunk.copy_within(start..self.end, 0);
                    (self.start, self.end) = (0, self.end - start);
                }
            }
        }
    }

    fn give_back(&mut self) {
        let chunk = std::mem::take(&mut self.chunk);
        (self.start, self.end) = (0, 0);
        if chunk.len() == CHUNK {
            let kept = FREE.with_borrow_mut(|free| {
                let keep = free.len() < KEPT;
                if keep {
                    free.push(chunk);
                }
                keep
            });
            if !kept {
                memory::give(CHUNK);
            }
        } else {
            memory::give(counted(chunk.len()));
        }
    }
}

/// A chunk from the allocator, or a small one while the door is short of memory.
fn another() -> Vec<u8> {
    if !memory::may_take(CHUNK, For::Small) {
        return vec![0; SMALL];
    }
    memory::take(CHUNK);
    vec![0; CHUNK]
}

/// What is counted of a buffer of this size.
fn counted(size: usize) -> usize {
    if size <= SMALL { 0 } else { size }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        if !self.chunk.is_empty() {
            self.give_back();
        }
    }
}
