//! `highwater status`: shows how far the running process is.

use std::io::IsTerminal;
use std::time::Duration;

use model::Trouble;

use super::Context;
use super::ask::{status_of, told};
use crate::cli::StatusArgs;
use crate::config;
use crate::control::{Client, Request};
use crate::output::{self, Reader};

/// Prints the status, once or every second until interrupted.
///
/// # Errors
/// If no process runs, or it ends meanwhile.
pub async fn run(context: &Context, args: &StatusArgs) -> Result<(), Trouble> {
    told(args.json, show(context, args).await)
}

async fn show(context: &Context, args: &StatusArgs) -> Result<(), Trouble> {
    let point = config::control_point(&context.config)?;
    let mut client = Client::connect(&point.state_dir).await?;
    let redraw = args.watch && !args.json && std::io::stdout().is_terminal();
    let mut every_second = tokio::time::interval(Duration::from_secs(1));
    loop {
        every_second.tick().await;
        let answer = client.ask(&Request::Status, |_| {}).await?;
        let reader = if args.json {
            output::print_json(&answer)?
        } else {
            let status = status_of(answer)?;
            // Home, and clear what follows: clearing first would flicker.
            let (home, clear) = if redraw { ("\x1b[H", "\x1b[J") } else { ("", "") };
            let text = output::render_status(&status);
            let text = if redraw { text.replace('\n', "\x1b[K\n") } else { text };
            output::print(&format!("{home}{text}{clear}"))?
        };
        if !args.watch || reader == Reader::Gone {
            return Ok(());
        }
    }
}
