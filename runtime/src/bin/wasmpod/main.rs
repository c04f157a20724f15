//! `wasmpod`: run WebAssembly pods on this machine.
//!
//! The program parses, calls the library and renders; what it decides itself is only how things look and which exit status
//! they get. One file a verb.

mod args;
mod environment;
mod explain;
mod report;
mod run;
mod terminal;
mod validate;

/// The compiler's program, for a `wasmpod` that has none installed beside it: it starts itself under that name.
#[cfg(feature = "compiler")]
#[path = "../wasmpod-compile.rs"]
mod compile_program;

use args::{Args, Verb};
use clap::Parser as _;
use std::process::ExitCode;

fn main() -> ExitCode {
    #[cfg(feature = "compiler")]
    if environment::called_as(wasmpod::engine::compile::PROGRAM) {
        return compile_program::main();
    }
    let args = Args::parse();
    report::init_tracing(args.verbose);
    let outcome = match args.verb {
        Verb::Run(run) => run::run(&run),
        Verb::Validate(validate) => validate::run(&validate),
        Verb::Explain(explain) => explain::run(&explain),
    };
    match outcome {
        Ok(status) => status,
        Err(error) => report::fail(&error),
    }
}
