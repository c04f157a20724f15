#!/usr/bin/env bash
# Measures everything that docs/benchmarks.md shows, and writes the tables and plots into it.
#
# Wants a quiet machine and, for a fair picture, root (runc, crun) and the programs that it compares with; what is not installed is
# skipped. WASMPOD names another program than that of the release build.
#
# The two large programs are measured as copies, as they would be installed: a file that a linker has just written takes two milliseconds
# longer to start from than its copy.
set -euo pipefail
cd "$(dirname "$0")/../.."
page=docs/benchmarks.md

installed=$(mktemp -d)
trap 'rm -r "$installed"' EXIT
cp "${WASMPOD:-target/release/wasmpod}" "$installed/wasmpod"
if wasmtime=$(command -v wasmtime); then cp "$wasmtime" "$installed/wasmtime"; fi
PATH=$installed:$PATH

# measure NAME FLAGS...: the table goes into the page, between the two comments with this name, the plot beside it.
measure() {
    local name=$1 table
    shift
    echo "wasmpod bench $*" >&2
    table=$(mktemp)
    wasmpod bench "$@" --svg "docs/benchmarks/$name.svg" >"$table"
    awk -v begin="<!-- $name -->" -v end="<!-- end of $name -->" -v command="wasmpod bench $*" -v table="$table" '
        $0 == begin {
            print; print "```"; print "$ " command
            while ((getline line < table) > 0) print line
            print "```"; print "![the same as a plot](benchmarks/" substr(begin, 6, length(begin) - 9) ".svg)"
            skipping = 1
        }
        $0 == end { skipping = 0 }
        !skipping && $0 != begin { print }
    ' "$page" >"$page.new"
    mv "$page.new" "$page"
    rm "$table"
}

others=(--against native --against wasmtime --against runc --against crun)
# The program that is built in prints the same six bytes as the Linux one.
measure process --mode process "${others[@]}" --runs 200 --duration 60s
measure first --mode first --against wasmtime --runs 20 --duration 60s
measure warm --mode warm examples/hello/hello.wasm examples/two-containers/pod.yaml
measure ready --mode ready --against wasmtime --runs 100 --duration 60s examples/http/front.wasm
measure throughput --mode throughput
measure density --mode density --pods 10000
