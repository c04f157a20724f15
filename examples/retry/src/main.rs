//! A job that fails twice and succeeds at the third attempt. It counts its attempts in a volume, for that outlives a container:
//! everything else starts afresh.

use std::fs;
use std::io::Result;
use std::process::ExitCode;

const ATTEMPTS: &str = "/state/attempts";

fn main() -> Result<ExitCode> {
    let earlier = fs::read_to_string(ATTEMPTS).unwrap_or_default().len();
    fs::write(ATTEMPTS, "|".repeat(earlier + 1))?;
    match earlier + 1 {
        attempt @ 1..=2 => {
            println!("attempt {attempt}: failed");
            Ok(ExitCode::from(1))
        }
        attempt => {
            println!("attempt {attempt}: succeeded");
            Ok(ExitCode::SUCCESS)
        }
    }
}
