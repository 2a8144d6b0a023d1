//! `highwater init`: writes a settings file that shows every key.

use std::fs::OpenOptions;
use std::io::{ErrorKind, Write};

use model::Trouble;

use super::Context;
use crate::cli::InitArgs;
use crate::{config, output};

/// Writes the file; an existing one only if forced.
///
/// # Errors
/// If it exists, or cannot be written.
pub async fn run(context: &Context, args: &InitArgs) -> Result<(), Trouble> {
    let path = args.path.as_ref().unwrap_or(&context.config);
    let mut options = OpenOptions::new();
    options.write(true);
    // One step, so that a file written in between is not lost.
    if args.force {
        options.create(true).truncate(true)
    } else {
        options.create_new(true)
    };
    let written = options.open(path).and_then(|mut file| file.write_all(config::TEMPLATE.as_bytes()));
    match written {
        Ok(()) => {
            output::print(&format!("wrote {}: edit it, then run `highwater check`\n", path.display()))?;
            Ok(())
        }
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Err(Trouble::new(
            format!("{} exists already", path.display()),
            "nothing was written",
            "add `--force` to overwrite it, or name another file",
        )),
        Err(error) => Err(Trouble::new(
            format!("cannot write {}: {error}", path.display()),
            "no settings were written",
            "name a file in a directory that exists and that this user can write",
        )),
    }
}
