//! `bench follow`
use crate::Result;
use crate::cli::FollowArgs;
pub fn run(_args: &FollowArgs) -> Result<()> { Err(crate::failed("follow", "not built yet")) }
