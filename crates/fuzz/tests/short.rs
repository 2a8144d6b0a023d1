//! The corpus does no harm any more, and neither does what a few moments of blind mutation make of it. `make fuzz` looks longer,
//! and where it goes.

use std::process::Command;

#[test]
fn no_decoder_falls_over_its_corpus_or_over_what_is_made_of_it() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_fuzz"));
    // Printed by the program, with the seed.
    let done = command.args(["--seconds", "0.1"]).output().unwrap_or_else(|e| panic!("{command:?}: {e}"));
    println!("{}{}", String::from_utf8_lossy(&done.stdout), String::from_utf8_lossy(&done.stderr));
    assert!(done.status.success(), "to repeat: cargo run -p fuzz -- --seed, with the seed above");
}
