//! `wasmpod`: run WebAssembly pods on this machine.
//!
//! The program parses, calls the library and renders; what it decides itself is only how things look and which exit status
//! they get. One file a verb.

mod args;
mod bench;
mod engine;
mod environment;
mod explain;
mod harmless;
mod image_store;
mod images;
mod inspect;
mod load;
mod login;
mod progress;
mod prune;
mod pull;
mod push;
mod registries;
mod report;
mod rmi;
mod run;
mod save;
mod shim;
mod spans;
mod tag;
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
    let began = spans::now();
    #[cfg(feature = "compiler")]
    if environment::called_as(wasmpod::engine::compile::PROGRAM) {
        return compile_program::main();
    }
    let args = Args::parse();
    report::init_tracing(args.verbose);
    let root = args.root.as_deref();
    let outcome = match args.verb {
        Verb::Run(run) => run::run(&run, root, began),
        Verb::Bench(bench) => bench::run(&bench, root),
        Verb::Validate(validate) => validate::run(&validate),
        Verb::Explain(explain) => explain::run(&explain),
        Verb::Images(images) => images::run(&images, root),
        Verb::Inspect(inspect) => inspect::run(&inspect, root),
        Verb::Rmi(remove) => rmi::run(&remove, root),
        Verb::Prune(prune) => prune::run(&prune, root),
        Verb::Save(save) => save::run(&save, root),
        Verb::Load(load) => load::run(&load, root),
        Verb::Tag(tag) => tag::run(&tag, root),
        Verb::Pull(pull) => pull::run(&pull, root),
        Verb::Push(push) => push::run(&push, root),
        Verb::Login(login) => login::log_in(&login),
        Verb::Logout(logout) => login::log_out(&logout),
        Verb::Shim(shim) => shim::run(&shim),
    };
    match outcome {
        Ok(status) => status,
        Err(error) => report::fail(&error),
    }
}
