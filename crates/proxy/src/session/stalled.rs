//! Waiting for a client in the middle of something: for the rest of a command, or for it to take an answer.
//!
//! Meanwhile the session says what it holds, and since when the client has not got on: if the door becomes short of memory, the largest
//! of these are ended ([`crate::memory`]). What has arrived with a command's first bytes, and an answer that the socket takes at once,
//! do not come here.

use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::task::{Context, Poll};
use std::time::Duration;

use mysql::Stream;
use tokio::io::AsyncWrite;

use crate::memory::{self, For, Held};
use crate::session::buffer::CHUNK;
use crate::session::{Kick, Session, clock};
use crate::trouble::{Stop, client_lost, hoarded, too_large_for_memory};

/// For how many seconds a client may not get on before it counts as one that does nothing with what it holds.
const PATIENCE: u32 = 2;
/// From how many bytes on what a client keeps between commands counts, in bytes.
const KEEPS_MIN: usize = 1 << 20;
/// How often who waits for memory asks again.
const AGAIN: Duration = Duration::from_millis(20);

/// What a session holds, as seen from outside.
#[derive(Debug, Default)]
pub(crate) struct Holds {
    /// The second in which it last got on; 0: it waits for nothing in the middle of a command.
    since: AtomicU32,
    /// Bytes, while it waits.
    bytes: AtomicUsize,
    /// It waits for memory.
    hungry: AtomicBool,
    /// Bytes between commands.
    keeps: AtomicUsize,
    evicted: AtomicBool,
}

/// Why a session is one that can be ended for its memory; those that come first are ended first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Why {
    /// Its client neither sends nor takes.
    ClientStands,
    /// It waits for memory itself.
    WantsMore,
    /// It keeps much from command to command.
    KeepsMuch,
}

/// What would come free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Hoard {
    pub why: Why,
    pub bytes: usize,
}

impl Holds {
    fn hoard(&self, now: u32) -> Option<Hoard> {
        let (since, keeps) = (self.since.load(Relaxed), self.keeps.load(Relaxed));
        let stands = since != 0 && now >= since.saturating_add(PATIENCE);
        let held = if stands { self.bytes.load(Relaxed) } else { 0 };
        let why = match held {
            0 if keeps < KEEPS_MIN => return None,
            0 => Why::KeepsMuch,
            _ if self.hungry.load(Relaxed) => Why::WantsMore,
            _ => Why::ClientStands,
        };
        Some(Hoard { why, bytes: held + keeps })
    }
}

impl Kick {
    /// What the session holds without doing anything with it, if anything, in that second of its thread's clock.
    pub fn hoard(&self, now: u32) -> Option<Hoard> {
        if self.is_evicted() { None } else { self.holds.hoard(now) }
    }

    /// What it keeps between commands, in bytes.
    pub fn keeps(&self, bytes: usize) {
        self.holds.keeps.store(bytes, Relaxed);
    }

    /// Has the session end, wherever it waits for its client.
    pub fn evict(&self) {
        self.holds.evicted.store(true, SeqCst);
        self.kick();
    }

    /// Whether it is to end.
    pub fn is_evicted(&self) -> bool {
        self.holds.evicted.load(SeqCst)
    }

    /// Waits for what `poll` waits for, or, without a value, until the session is to end.
    async fn unless_evicted<T>(&self, mut poll: impl FnMut(&mut Context<'_>) -> Poll<T>) -> Option<T> {
        poll_fn(|cx| {
            if let Poll::Ready(done) = poll(cx) {
                return Poll::Ready(Some(done));
            }
            self.register(cx);
            if self.is_evicted() { Poll::Ready(None) } else { Poll::Pending }
        })
        .await
    }
}

/// While a session waits.
struct Stall<'a> {
    holds: &'a Holds,
    /// Bytes since it last got on.
    moved: usize,
}

impl<'a> Stall<'a> {
    fn begin(kick: &'a Kick, bytes: usize) -> Self {
        let holds = &kick.holds;
        holds.bytes.store(bytes, Relaxed);
        holds.since.store(clock::now(), Relaxed);
        Self { holds, moved: 0 }
    }

    /// A few bytes now and then are no progress.
    fn moved(&mut self, n: usize) {
        self.moved += n;
        if self.moved >= CHUNK {
            self.moved = 0;
            self.holds.since.store(clock::now(), Relaxed);
        }
    }
}

impl Drop for Stall<'_> {
    fn drop(&mut self) {
        self.holds.since.store(0, Relaxed);
        self.holds.hungry.store(false, Relaxed);
    }
}

impl Session {
    /// Reads from the client until `n` bytes are there.
    ///
    /// # Errors
    /// If the client goes, or the session is to end for the memory it holds.
    pub async fn take_in(&mut self, n: usize) -> Result<(), Stop> {
        if self.inbound.len() >= n {
            return Ok(());
        }
        // On the heap: it has not arrived in one piece, so it will take a while.
        Box::pin(self.take_in_more(n)).await
    }

    async fn take_in_more(&mut self, n: usize) -> Result<(), Stop> {
        let Self { inbound, client, kick, frames, .. } = self;
        if n > CHUNK && !memory::can_have(n) {
            return Err(Stop::end(too_large_for_memory()));
        }
        let mut stall = Stall::begin(kick, inbound.held() + frames.bytes());
        while inbound.len() < n {
            if let Some(more) = inbound.lacks(n) {
                let what = if inbound.held() + more > CHUNK { For::Large } else { For::Small };
                wait_for_memory(kick, &stall, more, what).await?;
                inbound.grow(more);
                stall.holds.bytes.store(inbound.held() + frames.bytes(), Relaxed);
            }
            match kick.unless_evicted(|cx| inbound.poll_fill(cx, client)).await {
                None => return Err(Stop::end(hoarded())),
                Some(Ok(0)) => return Err(Stop::End(None)),
                Some(Ok(got)) => stall.moved(got),
                Some(Err(error)) if error.kind() == io::ErrorKind::QuotaExceeded => {
                    make_room_for_frame(client, kick, &stall, frames).await?;
                    stall.holds.bytes.store(inbound.held() + frames.bytes(), Relaxed);
                }
                Some(Err(error)) => return Err(client_lost(error)),
            }
        }
        Ok(())
    }

    /// A compressing client's frame was larger than it may have without being asked: gives that back when the frame is gone.
    pub fn give_frames_back(&mut self) {
        if self.client.frames_are_empty() {
            self.frames.set(0);
            self.client.set_frame_room(0);
        }
    }

    /// Says how much the session keeps between commands.
    pub fn note_what_is_kept(&self) {
        self.kick.keeps(self.statements.bytes());
    }
}

/// Waits until the compressed frame that is arriving may be read to its end.
///
/// # Errors
/// If the session is to end for the memory it holds.
pub(crate) async fn room_for_frame(client: &mut Stream, kick: &Kick, frames: &mut Held) -> Result<(), Stop> {
    let stall = Stall::begin(kick, frames.bytes());
    make_room_for_frame(client, kick, &stall, frames).await
}

async fn make_room_for_frame(
    client: &mut Stream,
    kick: &Kick,
    stall: &Stall<'_>,
    frames: &mut Held,
) -> Result<(), Stop> {
    let wanted = client.frame_wanted();
    wait_for_memory(kick, stall, wanted.saturating_sub(frames.bytes()), For::Large).await?;
    frames.set(wanted);
    client.set_frame_room(wanted);
    Ok(())
}

/// Waits until so many bytes may be taken.
async fn wait_for_memory(kick: &Kick, stall: &Stall<'_>, bytes: usize, what: For) -> Result<(), Stop> {
    if !memory::can_have(bytes) {
        return Err(Stop::end(too_large_for_memory()));
    }
    while !memory::may_take(bytes, what) {
        stall.holds.hungry.store(true, Relaxed);
        tokio::time::sleep(AGAIN).await;
        if kick.is_evicted() {
            return Err(Stop::end(hoarded()));
        }
    }
    if stall.holds.hungry.swap(false, Relaxed) {
        stall.holds.since.store(clock::now(), Relaxed);
    }
    Ok(())
}

/// Gives the client bytes of an answer.
///
/// # Errors
/// If the client goes, or the session is to end for the memory it holds: in the middle of an answer there is nothing it could be told.
pub(crate) async fn pass_on(client: &mut Stream, kick: &Kick, bytes: &[u8]) -> Result<(), Stop> {
    if bytes.is_empty() {
        return Ok(());
    }
    let first = poll_fn(|cx| Poll::Ready(Pin::new(&mut *client).poll_write(cx, bytes))).await;
    let taken = match first {
        Poll::Ready(Ok(n)) if n == bytes.len() => return Ok(()),
        Poll::Ready(written) => written.map_err(client_lost)?,
        Poll::Pending => 0,
    };
    Box::pin(pass_on_slowly(client, kick, bytes, taken)).await
}

async fn pass_on_slowly(
    client: &mut Stream,
    kick: &Kick,
    bytes: &[u8],
    mut taken: usize,
) -> Result<(), Stop> {
    let mut stall = Stall::begin(kick, CHUNK);
    while taken < bytes.len() {
        let written = kick.unless_evicted(|cx| Pin::new(&mut *client).poll_write(cx, &bytes[taken..])).await;
        match written {
            None | Some(Ok(0)) => return Err(Stop::End(None)),
            Some(n) => {
                let n = n.map_err(client_lost)?;
                stall.moved(n);
                taken += n;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_stands_still_comes_before_who_waits_and_who_keeps() {
        let kick = Kick::default();
        assert_eq!(kick.hoard(9), None);
        kick.keeps(KEEPS_MIN);
        assert_eq!(kick.hoard(9), Some(Hoard { why: Why::KeepsMuch, bytes: KEEPS_MIN }));
        let stall = Stall::begin(&kick, 70_000);
        let since = clock::now();
        assert_eq!(kick.hoard(since + PATIENCE - 1).map(|h| h.why), Some(Why::KeepsMuch));
        let hoard = kick.hoard(since + PATIENCE);
        assert_eq!(hoard, Some(Hoard { why: Why::ClientStands, bytes: KEEPS_MIN + 70_000 }));
        stall.holds.hungry.store(true, Relaxed);
        assert_eq!(kick.hoard(since + PATIENCE).map(|h| h.why), Some(Why::WantsMore));
        drop(stall);
        kick.keeps(0);
        assert_eq!(kick.hoard(since + 100), None);
        assert!(Why::ClientStands < Why::WantsMore && Why::WantsMore < Why::KeepsMuch);
        kick.keeps(KEEPS_MIN);
        kick.evict();
        assert_eq!(kick.hoard(9), None);
    }
}
