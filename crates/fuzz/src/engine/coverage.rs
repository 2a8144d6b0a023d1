//! What code an input reaches: a counter for each edge, which the compiler puts in if asked to (`rustc-with-counters`).

#![expect(unsafe_code, reason = "the counters are the compiler's, and known by their address alone")]

use std::sync::atomic::Ordering::Relaxed;
use std::sync::atomic::{AtomicPtr, AtomicUsize};

static FIRST: AtomicPtr<u8> = AtomicPtr::new(std::ptr::null_mut());
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Called before `main` for every module that has counters. The linker puts them all into one section, so that each call
/// names the same range.
///
/// Source: "Inline 8bit-counters" in Clang's documentation of SanitizerCoverage.
#[unsafe(no_mangle)]
extern "C" fn __sanitizer_cov_8bit_counters_init(first: *mut u8, end: *mut u8) {
    FIRST.store(first, Relaxed);
    COUNT.store((end as usize).saturating_sub(first as usize), Relaxed);
}

/// The counters, and what was seen of them so far.
#[derive(Debug)]
pub struct Coverage {
    /// For each counter, a bit for each order of magnitude it was seen at.
    seen: Vec<u8>,
    /// Every counter is 0.
    clean: bool,
}

impl Coverage {
    /// With nothing seen.
    pub fn new() -> Self {
        Self { seen: vec![0; COUNT.load(Relaxed)], clean: false }
    }

    /// Whether the program was built with counters.
    pub fn is_on(&self) -> bool {
        !self.seen.is_empty()
    }

    fn counters() -> &'static mut [u8] {
        let (first, count) = (FIRST.load(Relaxed), COUNT.load(Relaxed));
        if first.is_null() {
            return &mut [];
        }
        // SAFETY: the section is the program's own, writable and there for as long as it runs. Only instrumented code
        // writes it besides, and none of it runs while this slice is used: this file is not instrumented, and targets
        // have no threads.
        unsafe { std::slice::from_raw_parts_mut(first, count) }
    }

    /// Sets every counter to 0, before a target is run.
    pub fn reset(&mut self) {
        if !std::mem::take(&mut self.clean) {
            Self::counters().fill(0);
        }
    }

    /// Whether the counters say something not seen before, which is then seen. They are 0 afterwards: the most of a run is
    /// this one pass over them.
    pub fn is_new(&mut self) -> bool {
        let mut new = false;
        for (counters, seen) in Self::counters().chunks_mut(16).zip(self.seen.chunks_mut(16)) {
            if <[u8; 16]>::try_from(&*counters).is_ok_and(|all| u128::from_ne_bytes(all) == 0) {
                continue;
            }
            for (counter, seen) in counters.iter_mut().zip(seen) {
                let bit = magnitude(std::mem::take(counter));
                new |= bit & !*seen != 0;
                *seen |= bit;
            }
        }
        self.clean = true;
        new
    }

    /// The edges that were passed since the last [`Coverage::reset`].
    pub fn edges(&self) -> Vec<u32> {
        let passed = Self::counters().iter().enumerate().filter(|(_, c)| **c > 0);
        passed.map(|(i, _)| i as u32).collect()
    }

    /// How many edges were ever passed.
    pub fn reached(&self) -> usize {
        self.seen.iter().filter(|s| **s > 0).count()
    }
}

fn magnitude(counter: u8) -> u8 {
    match counter {
        0 => 0,
        1 => 1,
        2 => 2,
        3 => 4,
        4..=7 => 8,
        8..=15 => 16,
        16..=31 => 32,
        32..=127 => 64,
        128.. => 128,
    }
}
