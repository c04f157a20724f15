#!/usr/bin/env bash
# Runs a fuzzer: tests/fuzz/run.sh TARGET [SECONDS [ARGUMENTS OF LIBFUZZER]]; `tests/fuzz/run.sh all [SECONDS]` runs each in turn.
# Needs cargo-fuzz (cargo install cargo-fuzz --locked) and a stable Rust: no sanitizer is used, since all of ours is safe Rust.
#
# New inputs are kept in tests/fuzz/target/corpus/TARGET; tests/fuzz/minimise.sh takes the best of them into the repository.
# A finding is written to tests/fuzz/artifacts/TARGET and ends the run.
set -euo pipefail
cd "$(dirname "$0")"
target=${1:?a target, or all}
seconds=${2:-600}
shift $(($# > 2 ? 2 : $#))
targets=$(cd fuzz_targets && printf '%s\n' *.rs | sed 's/\.rs$//')
[ "$target" = all ] && chosen=$targets || chosen=$target
for name in $chosen; do
    mkdir -p "target/corpus/$name" "corpus/$name" "artifacts/$name"
    # The guests of a run are bounded, and so must the host be: 2 GiB with the compiler in it, 20 s for what takes milliseconds.
    (cd ../.. && cargo fuzz run --fuzz-dir tests/fuzz --sanitizer none --strip-dead-code=true "$name" \
        "tests/fuzz/target/corpus/$name" "tests/fuzz/corpus/$name" -- \
        -max_total_time="$seconds" -timeout=20 -rss_limit_mb=2048 -max_len=8192 -print_final_stats=1 "$@")
done
