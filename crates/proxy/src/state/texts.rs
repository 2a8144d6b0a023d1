//! The texts of prepared statements: one copy of each, whoever prepared it.
//!
//! A long text is not looked up: it would be kept for a while after its last statement, and nobody prepares the same one often.

use std::collections::HashSet;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError};

use crate::memory::Memory;
use crate::session::buffer::CHUNK;

/// Below this much, in bytes, nothing is thrown away.
const SWEEP_MIN: usize = 256 * 1024;
/// What a text takes beside itself, in bytes.
const EACH: usize = 48;

/// All texts of a door.
#[derive(Debug, Default)]
pub(crate) struct Texts {
    known: Mutex<Known>,
}

#[derive(Debug, Default)]
struct Known {
    all: HashSet<Arc<[u8]>>,
    bytes: usize,
    /// When there are so many bytes, texts no longer in use are forgotten.
    sweep_at: usize,
}

impl Texts {
    /// The one copy of this text; of a long one, a copy of its own. Whoever keeps that counts it.
    pub fn keep(&self, text: &[u8], memory: &Memory) -> Arc<[u8]> {
        if text.len() > CHUNK {
            return text.into();
        }
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(same) = known.all.get(text) {
            return Arc::clone(same);
        }
        if known.bytes >= known.sweep_at.max(SWEEP_MIN) {
            known.all.retain(|text| Arc::strong_count(text) > 1);
            known.bytes = known.all.iter().map(|text| text.len() + EACH).sum();
            known.sweep_at = known.bytes * 2;
        }
        let text: Arc<[u8]> = text.into();
        known.bytes += text.len() + EACH;
        known.all.insert(Arc::clone(&text));
        memory.texts.store(known.bytes, Relaxed);
        text
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_texts_are_one_copy_and_those_out_of_use_are_forgotten() {
        let (texts, memory) = (Texts::default(), Memory::new(usize::MAX, 1));
        let one = texts.keep(b"SELECT 1", &memory);
        assert!(Arc::ptr_eq(&one, &texts.keep(b"SELECT 1", &memory)));
        assert_eq!(memory.texts.load(Relaxed), 8 + EACH);
        for n in 0..1_000 {
            texts.keep(format!("SELECT {n:01000}").as_bytes(), &memory);
        }
        assert!(memory.texts.load(Relaxed) < 2 * SWEEP_MIN);
        assert!(Arc::ptr_eq(&one, &texts.keep(b"SELECT 1", &memory)));
        let long = vec![b'x'; CHUNK + 1];
        assert!(!Arc::ptr_eq(&texts.keep(&long, &memory), &texts.keep(&long, &memory)));
        assert!(memory.texts.load(Relaxed) < 2 * SWEEP_MIN);
    }
}
