//! The init container: fills the volume before the app starts.

use std::fs;
use std::io::Result;

fn main() -> Result<()> {
    fs::create_dir("/work/guests")?;
    for name in ["ada", "grace", "katherine"] {
        fs::write(format!("/work/guests/{name}.txt"), format!("{name} likes tea\n"))?;
    }
    println!("the volume is ready");
    Ok(())
}
