//! The flags of `wasmpod bench`.

use super::{EnvArg, RegistryArgs, VolumeArg, parse_duration};
use crate::bench::Against;
use clap::{Parser, ValueEnum};
use serde::Serialize;
use std::path::PathBuf;
use std::time::Duration;
use wasmpod::limits::{BENCH_CONCURRENCY_MAX, BENCH_PODS_MAX, BENCH_RUNS_MAX};

/// The flags of `wasmpod bench`.
#[derive(Debug, Parser)]
pub(crate) struct BenchArgs {
    /// Manifests, WebAssembly files or images, as for `wasmpod run`; without any, a program that says hello.
    #[arg(value_name = "TARGET")]
    pub(crate) targets: Vec<PathBuf>,
    /// Arguments for the WebAssembly files and images; a manifest has its own.
    #[arg(last = true)]
    pub(crate) args: Vec<String>,
    /// What to measure, several with commas or one by one [default: process,warm; for servers: ready].
    #[arg(short, long, value_enum, value_delimiter = ',', value_name = "MODES")]
    pub(crate) mode: Vec<Mode>,
    /// How many runs at most [default: as many as the mode usually needs and --duration allows].
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=BENCH_RUNS_MAX.into()))]
    pub(crate) runs: Option<u32>,
    /// How many runs come first and are not counted [default: by mode].
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(0..=BENCH_RUNS_MAX.into()))]
    pub(crate) warm_up: Option<u32>,
    /// No run of a mode begins later than this after its first; each mode has at least one.
    #[arg(short, long, value_name = "TIME", value_parser = parse_duration, default_value = "10s")]
    pub(crate) duration: Duration,
    /// How many pods are started at once, by the mode throughput [default: 4 for each processor].
    #[arg(short, long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=BENCH_CONCURRENCY_MAX.into()))]
    pub(crate) concurrency: Option<u32>,
    /// How many idle pods at most, by the mode density.
    #[arg(long, value_name = "N", default_value_t = 1000, value_parser = clap::value_parser!(u32).range(1..=BENCH_PODS_MAX.into()))]
    pub(crate) pods: u32,
    /// The pod's port that is asked by HTTP for its first byte, by the mode ready [default: that of the wasi:http container].
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    pub(crate) port: Option<u16>,
    /// Measure this beside, in turns: wasmtime, native, runc, crun, podman, or a command, in which {} stands for the target and {port} for a
    /// port; may be given several times.
    ///
    /// wasmtime runs the same WebAssembly, compiled beforehand. The others run a Linux program, native by itself: the one of
    /// --linux-command, or a tiny one that says hello.
    #[arg(long, value_name = "WHAT")]
    pub(crate) against: Vec<Against>,
    /// What native, runc, crun and podman run: a statically linked program of this machine, with its arguments.
    #[arg(long, value_name = "COMMAND")]
    pub(crate) linux_command: Option<String>,
    /// What to print.
    #[arg(short, long, value_enum, default_value_t = BenchFormat::Text)]
    pub(crate) output: BenchFormat,
    /// Write everything that was measured into this file too, as JSON.
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Write the single values into this file too, as CSV.
    #[arg(long, value_name = "FILE")]
    pub(crate) csv: Option<PathBuf>,
    /// Draw the distributions and breakdowns into this file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Set an environment variable in every container: NAME=VALUE, or NAME to pass this one's own.
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<EnvArg>,
    /// Mount a directory of this machine in every container: HOST:CONTAINER[:ro].
    #[arg(long, value_name = "DIRS")]
    pub(crate) volume: Vec<VolumeArg>,
    #[command(flatten)]
    pub(crate) registry: RegistryArgs,
    /// Where compiled artifacts are kept.
    #[arg(long, value_name = "DIR", env = "WASMPOD_CACHE_DIR")]
    pub(crate) cache_dir: Option<PathBuf>,
    /// Fill this very process with idle pods: how the mode density gets a process that holds nothing else.
    #[arg(long, hide = true)]
    pub(crate) fill: bool,
}

/// What is measured.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Mode {
    /// A new process each time, with the artifact in the cache: until its first output and its end.
    Process,
    /// Nothing is there yet: each time it is pulled and compiled anew.
    First,
    /// In one process, with the artifact loaded: until the pod runs and until its end.
    Warm,
    /// A new process each time: until the pod is ready, and the first byte came from its port.
    Ready,
    /// Pods started and ended in one process, at a concurrency: how many a second.
    Throughput,
    /// Idle pods in one process: the memory of each.
    Density,
}

/// The form in which `wasmpod bench` prints.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum BenchFormat {
    /// For people.
    Text,
    /// For programs: everything.
    Json,
    /// For programs: every single value, one a line.
    Csv,
}
