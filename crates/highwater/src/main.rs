//! The `highwater` program: reads the command line, runs one command, and turns its outcome into an exit code.
//!
//! Exit codes: 0 done, 1 refused or failed, 2 bad usage. A reader that closes the pipe is no failure.

use std::process::ExitCode;

use clap::Parser;
use highwater::cli::{Cli, Command, ProxyQuestion};
use highwater::commands::serve::With;
use highwater::commands::{self, Context};
use highwater::output;
use model::Trouble;
use tracing_subscriber::filter::LevelFilter;

const FAILED: u8 = 1;
const BAD_USAGE: u8 = 2;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version come this way too. A pipe closed by its reader is no failure.
            let _ = error.print();
            return ExitCode::from(if error.use_stderr() { BAD_USAGE } else { 0 });
        }
    };
    if let Err(trouble) = start_log() {
        output::complain(&trouble);
        return ExitCode::from(BAD_USAGE);
    }
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(trouble) => {
            output::complain(&trouble);
            ExitCode::from(FAILED)
        }
    }
}

fn run(cli: Cli) -> Result<(), Trouble> {
    // Two at least: a cutover must not wait behind one busy task.
    let workers = std::thread::available_parallelism().map_or(2, |cores| cores.get().max(2));
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(workers).enable_all().build().map_err(
            |error| {
                Trouble::new(
                    format!("cannot start the program's threads: {error}"),
                    "nothing was started",
                    "raise the limits on threads and open files (`ulimit -u`, `ulimit -n`)",
                )
            },
        )?;
    let outcome = runtime.block_on(dispatch(cli));
    // Only a name look-up that nobody waits for any more can still be running.
    runtime.shutdown_background();
    outcome
}

async fn dispatch(cli: Cli) -> Result<(), Trouble> {
    let context = Context { config: cli.config, quiet: cli.quiet };
    match cli.command {
        Command::Init(args) => commands::init::run(&context, &args).await,
        Command::Check(args) => commands::check::run(&context, &args).await,
        Command::Copy(args) => commands::copy::run(&context, &args).await,
        Command::Status(args) => commands::status::run(&context, &args).await,
        Command::Throttle(args) => commands::throttle::run(&context, &args).await,
        Command::Verify(args) => commands::verify::run(&context, &args).await,
        Command::Cutover(args) => commands::cutover::run(&context, &args).await,
        Command::Rollback(args) => commands::rollback::run(&context, &args).await,
        Command::Finish(args) => commands::finish::run(&context, &args).await,
        Command::Serve(args) => commands::serve::run(&context, With::Moves, &args.take_over).await,
        Command::Proxy(args) => match args.question {
            Some(ProxyQuestion::Pins(args)) => commands::pins::run(&context, &args).await,
            None => commands::serve::run(&context, With::FrontDoorOnly, &args.take_over).await,
        },
        Command::Digests(args) => commands::digests::run(&context, &args).await,
        Command::Reload(args) => commands::reload::run(&context, &args).await,
        Command::Stop(args) => commands::stop::run(&context, &args).await,
        Command::Demo(args) => commands::demo::run(&context, &args).await,
    }
}

fn start_log() -> Result<(), Trouble> {
    let level = match std::env::var("HIGHWATER_LOG").as_deref() {
        Err(std::env::VarError::NotPresent) | Ok("" | "warn") => LevelFilter::WARN,
        Ok("info") => LevelFilter::INFO,
        Ok("debug") => LevelFilter::DEBUG,
        _ => {
            return Err(Trouble::new(
                "HIGHWATER_LOG names no log level",
                "nothing was started",
                "set it to warn, info or debug",
            ));
        }
    };
    let ansi = output::Colour::of_stderr() == output::Colour::On;
    tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(ansi).with_max_level(level).init();
    Ok(())
}
