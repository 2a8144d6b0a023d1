//! One input, and whether the target survives it.

use std::cell::{Cell, RefCell};
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

use fuzz::Target;

use super::allocator;

/// The processor time an input may take.
const TIME_MAX: Duration = Duration::from_secs(1);
/// When an input that does not end is given up, in processor time.
const ENDLESS: Duration = Duration::from_secs(10);
/// The memory that any input may take, in bytes; and so many times its own length more.
pub const MEMORY_MAX: usize = 64 << 20;
const MEMORY_PER_BYTE: usize = 16;

/// What became of an input.
#[derive(Debug)]
pub enum Verdict {
    /// Nothing to tell.
    Survived,
    /// What happened, and where: two inputs with the same place show the same.
    Fell {
        /// For a person.
        what: String,
        /// For comparing.
        place: String,
    },
}

thread_local! {
    static PANIC: RefCell<Option<(String, String)>> = const { RefCell::new(None) };
    static TRYING: Cell<bool> = const { Cell::new(false) };
}

/// A target that is tried.
#[derive(Debug)]
pub struct Trial {
    target: &'static Target,
    now: File,
    note: Vec<u8>,
    tried: Arc<AtomicU64>,
}

impl Trial {
    /// Inputs stand in the file `now` while they are tried, for whoever must say what ended this process.
    ///
    /// # Panics
    /// If that file cannot be made.
    pub fn new(target: &'static Target, now: &Path) -> Self {
        let ours = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !TRYING.get() {
                return ours(info);
            }
            let place = info.location().map(ToString::to_string).unwrap_or_default();
            let message = info.payload_as_str().unwrap_or("(no text)").to_owned();
            PANIC.with_borrow_mut(|panic| *panic = Some((message, place)));
        }));
        let now = File::create(now).unwrap_or_else(|e| panic!("cannot write {}: {e}", now.display()));
        let tried = Arc::new(AtomicU64::new(0));
        watch(Arc::clone(&tried));
        Self { target, now, note: Vec::new(), tried }
    }

    /// What is tried.
    pub fn target(&self) -> &'static Target {
        self.target
    }

    /// How many inputs were.
    pub fn tried(&self) -> u64 {
        self.tried.load(Relaxed)
    }

    /// Tries an input.
    ///
    /// # Panics
    /// If it cannot be noted.
    pub fn of(&mut self, input: &[u8]) -> Verdict {
        self.note.clear();
        self.note.extend_from_slice(&(input.len() as u32).to_le_bytes());
        self.note.extend_from_slice(input);
        self.now.write_all_at(&self.note, 0).unwrap_or_else(|e| panic!("cannot note the input: {e}"));
        self.tried.fetch_add(1, Relaxed);
        let begun = Instant::now();
        TRYING.set(true);
        let live = allocator::begin();
        let outcome = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
        let peak = allocator::peak_since(live);
        TRYING.set(false);
        if outcome.is_err() {
            let (message, place) = PANIC.take().unwrap_or_default();
            return Verdict::Fell { what: format!("panic at {place}: {message}"), place };
        }
        let fell = |place: &str, what: String| Verdict::Fell { what, place: place.to_owned() };
        if peak > MEMORY_MAX + MEMORY_PER_BYTE * input.len() {
            return fell("memory", format!("{} bytes took {peak} bytes of memory", input.len()));
        }
        // On a busy machine the clock accuses nobody: it is tried again, and its processor time measured.
        if begun.elapsed() > TIME_MAX {
            let busy = on_processor("thread-self");
            let _ = catch_unwind(AssertUnwindSafe(|| (self.target.run)(input)));
            let took = on_processor("thread-self").saturating_sub(busy);
            if took > TIME_MAX {
                return fell("time", format!("{} bytes took {took:?} of processor time", input.len()));
            }
        }
        Verdict::Survived
    }
}

/// The processor time of a thread of this process (`thread-self`, or `self/task/ID`).
///
/// Source: `/proc/PID/schedstat` in the kernel's `Documentation/scheduler/sched-stats.rst`: nanoseconds on the processor first.
fn on_processor(thread: &str) -> Duration {
    let text = std::fs::read_to_string(format!("/proc/{thread}/schedstat")).unwrap_or_default();
    Duration::from_nanos(text.split(' ').next().and_then(|n| n.parse().ok()).unwrap_or(0))
}

/// Ends the process if an input does not end: the parent finds it in the file.
fn watch(tried: Arc<AtomicU64>) {
    let link = std::fs::read_link("/proc/thread-self").unwrap_or_default();
    let Some(id) = link.file_name().map(|n| n.to_string_lossy().into_owned()) else { return };
    let thread = format!("self/task/{id}");
    std::thread::spawn(move || {
        let (mut at, mut since) = (0, Duration::ZERO);
        loop {
            std::thread::sleep(Duration::from_millis(500));
            let (now, busy) = (tried.load(Relaxed), on_processor(&thread));
            if now != at {
                (at, since) = (now, busy);
            } else if busy.saturating_sub(since) > ENDLESS {
                eprintln!("an input did not end within {ENDLESS:?} of processor time");
                std::process::exit(3);
            }
        }
    });
}

/// The input in the file of a process that has died.
pub fn read_now(file: &Path) -> Option<Vec<u8>> {
    let note = std::fs::read(file).ok()?;
    let (len, rest) = note.split_first_chunk::<4>()?;
    rest.get(..u32::from_le_bytes(*len) as usize).map(<[u8]>::to_vec)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn falls(input: &[u8]) {
        match input.first() {
            Some(b'p') => panic!("as asked"),
            Some(b'm') => drop(std::hint::black_box(vec![1_u8; 2 * MEMORY_MAX])),
            _ => {}
        }
    }

    static FALLS: Target = Target { name: "falls", run: falls, words: &[] };

    #[test]
    fn panics_and_too_much_memory_are_found_and_the_input_is_noted() {
        let now = std::env::temp_dir().join(format!("highwater-fuzz-trial-{}", std::process::id()));
        let mut trial = Trial::new(&FALLS, &now);
        assert!(matches!(trial.of(b"nothing"), Verdict::Survived));
        let Verdict::Fell { what, place } = trial.of(b"panic") else { panic!("no panic was seen") };
        assert!(what.ends_with("as asked") && place.contains("trial.rs"), "{what}");
        assert_eq!(read_now(&now).as_deref(), Some(&b"panic"[..]));
        assert!(matches!(trial.of(b"memory"), Verdict::Fell { place, .. } if place == "memory"));
        assert!(matches!(trial.of(b""), Verdict::Survived));
        assert_eq!(trial.tried(), 4);
        let _ = std::fs::remove_file(&now);
    }
}
