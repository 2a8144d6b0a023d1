//! How hard the shoppers shop: the source's highest write rate is found, then the pause between two pages at which they keep
//! it at a share of that.

use std::time::{Duration, Instant};

use sandbox::Node;
use tokio::runtime::Runtime;

use super::shoppers;
use crate::sql::Sql;
use crate::{Result, failed};

/// Shoppers without a pause that are tried to find the highest rate, and how long each number is tried.
const CAPACITY_SHOPPERS: [usize; 3] = [16, 32, 64];
const TRY: Duration = Duration::from_secs(3);
/// Pauses tried at most, and the share of the wanted rate that is close enough.
const TRIES: usize = 8;
const CLOSE: f64 = 0.04;

/// How many shoppers, and their longest pause.
#[derive(Debug, Clone, Copy)]
pub(super) struct Pace {
    pub shoppers: usize,
    pub think: Duration,
}

/// The highest rate at which shoppers write, straight to a server that nobody follows, in transactions a second.
pub(super) fn capacity(runtime: &Runtime, node: &Node) -> Result<f64> {
    let mut best: f64 = 0.0;
    for shoppers in CAPACITY_SHOPPERS {
        let rate = rate(runtime, node.port(), node, Pace { shoppers, think: Duration::ZERO })?;
        eprintln!("{shoppers} shoppers without a pause: {rate:.0} transactions/s");
        best = best.max(rate);
    }
    Ok(best)
}

/// The pause at which shoppers at a port keep the server behind it at the wanted rate; none, if they cannot.
pub(super) fn find(runtime: &Runtime, port: u16, node: &Node, wanted: f64, shoppers: usize) -> Result<Pace> {
    let mut pace = Pace { shoppers, think: Duration::from_millis(40) };
    for _ in 0..TRIES {
        let rate = rate(runtime, port, node, pace)?;
        eprintln!("{shoppers} shoppers, pause {:?}: {rate:.0} transactions/s", pace.think);
        if (rate / wanted - 1.0).abs() <= CLOSE || (rate < wanted && pace.think < Duration::from_micros(500))
        {
            break;
        }
        // Halfway: the rate does not fall as fast as the pause grows.
        pace.think = pace.think.mul_f64((rate / wanted).clamp(0.2, 5.0));
    }
    Ok(pace)
}

fn rate(runtime: &Runtime, port: u16, node: &Node, pace: Pace) -> Result<f64> {
    let shoppers = shoppers(runtime, port, pace)?;
    std::thread::sleep(Duration::from_millis(500));
    let (begun, before) = (Instant::now(), written(node)?);
    std::thread::sleep(TRY);
    let rate = (written(node)? - before) / begun.elapsed().as_secs_f64();
    runtime.block_on(shoppers.stop()).map_err(|e| failed("stop the shoppers", e))?;
    Ok(rate)
}

/// Transactions a server has in its binary log, its own and others'.
pub(super) fn written(node: &Node) -> Result<f64> {
    Ok(crate::followers::executed(&mut Sql::on(node)?)?.len() as f64)
}
