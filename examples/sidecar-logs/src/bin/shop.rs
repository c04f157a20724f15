//! The app: writes its log to a file, as many programs do, and knows nothing of who reads it.

use std::fs::{self, File};
use std::io::{Result, Write};
use std::thread::sleep;
use std::time::Duration;

fn main() -> Result<()> {
    let mut log = File::create("/var/log/shop/shop.log")?;
    for order in 1..=5 {
        writeln!(log, "order {order} is packed")?;
        sleep(Duration::from_millis(50));
    }

    // A sidecar is stopped as soon as the last app container has ended. So that no line is lost, this one stays until all are shipped.
    let written = log.metadata()?.len().to_string();
    while fs::read_to_string("/var/log/shop/shipped").unwrap_or_default() != written {
        sleep(Duration::from_millis(10));
    }
    println!("all orders are packed, and the log is shipped");
    Ok(())
}
