#!/usr/bin/env bash
# Takes the best of what a fuzzer has found into the repository: tests/fuzz/minimise.sh TARGET...
# The inputs that together reach everything reached, and of those the ones that reach most: small enough for everybody to clone.
set -euo pipefail
cd "$(dirname "$0")/../.."
for name in "$@"; do
    chosen=tests/fuzz/target/chosen/$name
    rm -rf "$chosen" && mkdir -p "$chosen"
    binary=tests/fuzz/target/x86_64-unknown-linux-gnu/release/$name
    "$binary" -set_cover_merge=1 -rss_limit_mb=2048 -timeout=20 "$chosen" "tests/fuzz/corpus/$name" "tests/fuzz/target/corpus/$name" 2>/dev/null
    rm -rf "tests/fuzz/corpus/$name" && mkdir -p "tests/fuzz/corpus/$name"
    find "$chosen" -type f -size -5k -printf '%s %p\n' | sort -rn | head -16 | while read -r _ input; do cp "$input" "tests/fuzz/corpus/$name/"; done
done
