//! The sidecar: follows the app's log file and ships what is added to it, here to its own standard output. It never ends by itself.

use std::fs::{self, File};
use std::io::{self, Result};
use std::thread::sleep;
use std::time::Duration;

fn main() -> Result<()> {
    // It starts before the app, so the file may not be there yet.
    let mut log = loop {
        match File::open("/var/log/shop/shop.log") {
            Ok(log) => break log,
            Err(_) => sleep(Duration::from_millis(10)),
        }
    };
    let mut shipped = 0;
    loop {
        let added = io::copy(&mut log, &mut io::stdout())?;
        if added > 0 {
            shipped += added;
            fs::write("/var/log/shop/shipped", shipped.to_string())?;
        }
        sleep(Duration::from_millis(10));
    }
}
