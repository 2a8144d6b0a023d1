//! Waking a session that waits for its client.

use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Mutex, PoisonError};
use std::task::{Context, Waker};

use crate::session::stalled::Holds;

/// Wakes an idle session, so that it looks at the gate, or gives its backend to somebody who waits for one.
#[derive(Debug, Default)]
pub(crate) struct Kick {
    pub(super) kicked: AtomicBool,
    waker: Mutex<Option<Waker>>,
    /// The session is between statements and could give its backend back.
    lingering: AtomicBool,
    /// It is on the pool's list of those.
    listed: AtomicBool,
    /// The second of its thread's clock in which it wants to be woken; 0 is never.
    due: AtomicU32,
    /// What it holds.
    pub(super) holds: Holds,
}

impl Kick {
    /// Wakes the session.
    pub fn kick(&self) {
        self.kicked.store(true, SeqCst);
        if let Some(waker) = self.waker.lock().unwrap_or_else(PoisonError::into_inner).as_ref() {
            waker.wake_by_ref();
        }
    }

    /// Has the session woken in that second of its thread's clock; 0 is never.
    pub fn set_due(&self, at: u32) {
        self.due.store(at, Relaxed);
    }

    /// Whether that second has come.
    pub fn is_due(&self, now: u32) -> bool {
        let due = self.due.load(Relaxed);
        due != 0 && due <= now
    }

    /// Has this task woken by the next kick.
    pub fn register(&self, cx: &Context<'_>) {
        let mut waker = self.waker.lock().unwrap_or_else(PoisonError::into_inner);
        if !waker.as_ref().is_some_and(|w| w.will_wake(cx.waker())) {
            *waker = Some(cx.waker().clone());
        }
    }

    /// The session begins to linger; whether it must be put on the list.
    pub fn linger(&self) -> bool {
        self.lingering.store(true, SeqCst);
        !self.listed.swap(true, SeqCst)
    }

    /// It is about to use its backend, or has given it back.
    pub fn stop_lingering(&self) {
        self.lingering.store(false, Relaxed);
    }

    /// It was taken off the list: wakes it, if it lingers still.
    pub fn press(&self) -> bool {
        self.listed.store(false, SeqCst);
        let lingers = self.lingering.load(SeqCst);
        if lingers {
            self.kick();
        }
        lingers
    }
}
