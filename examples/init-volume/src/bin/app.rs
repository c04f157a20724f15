//! The app: reads what the init container left, from a volume that it may not write to.

use std::fs;
use std::io::Result;

fn main() -> Result<()> {
    let mut paths = fs::read_dir("/data/guests")?.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>()?;
    paths.sort();
    for path in paths {
        print!("{}: {}", path.display(), fs::read_to_string(&path)?);
    }
    match fs::write("/data/mine.txt", "hello") {
        Ok(()) => println!("the volume can be written to"),
        Err(_) => println!("the volume is read-only"),
    }
    Ok(())
}
