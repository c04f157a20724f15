#!/usr/bin/env bash
# build.sh [EXAMPLE...]: builds the guests of the examples (of all, when none is named) from their sources, puts each beside its
# pod.yaml and writes SHA256SUMS. Running the examples does not need it: the built guests are committed.
#
# The compiler is rustup's own where it can install the WebAssembly targets. Where it cannot (no network to its server, a
# distribution's Rust), compiler-debian.sh makes one in minutes, in .cache/wasm-sysroot of the repository.
set -euo pipefail
cd "$(dirname "$0")"

# A guest larger than this is not committed: it makes every clone slower.
GUEST_BYTES_MAX=512000

# Each line: example, target, its programs (one .wasm each).
GUESTS="
hello            wasm32-wasip1  hello
two-containers   wasm32-wasip2  server client
http             wasm32-wasip2  front store
init-volume      wasm32-wasip1  prepare app
sidecar-logs     wasm32-wasip1  shop shipper
udp              wasm32-wasip2  receiver sender
retry            wasm32-wasip1  retry
five             wasm32-wasip2  five
preview1-server  wasm32-wasip1  shouter caller
services         wasm32-wasip2  toolbox
../tests/guests/intruder  wasm32-wasip1  intruder-p1
../tests/guests/intruder  wasm32-wasip2  intruder-p2
../tests/guests/caller  wasm32-wasip2  caller
../benches/guests/network  wasm32-wasip2  network
"

choose_compiler() {
  rustup target add wasm32-wasip1 wasm32-wasip2 && return
  local sysroot=$PWD/../.cache/wasm-sysroot
  ./compiler-debian.sh "$sysroot"
  export RUSTC="$sysroot/bin/rustc-wasm"
}

build() { # example target programs...
  local example=$1 target=$2 built
  shift 2
  # Paths of the machine that builds do not belong into the guests, nor may they change their checksums.
  RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=${PWD%/*}=/wasmpod --remap-path-prefix=$PWD=/examples" \
    cargo build --locked --quiet --release --target "$target" --manifest-path "$example/Cargo.toml"
  for program; do
    built="${CARGO_TARGET_DIR:-target}/$target/release/$program.wasm"
    if [ "$(stat -c %s "$built")" -gt "$GUEST_BYTES_MAX" ]; then
      echo "$built is larger than $GUEST_BYTES_MAX bytes" >&2
      exit 1
    fi
    install -m 644 "$built" "$example/$program.wasm"
    echo "$example/$program.wasm: $(stat -c %s "$built") bytes"
  done
}

choose_compiler
wanted=" $* "
while read -r example target programs; do
  [ -n "$example" ] || continue
  if [ $# -eq 0 ] || [[ $wanted == *" $example "* ]]; then
    build "$example" "$target" $programs
  fi
done <<<"$GUESTS"
{
  echo "# Built by $("${RUSTC:-rustc}" --version)."
  sha256sum -- */*.wasm ../tests/guests/*/*.wasm ../benches/guests/*/*.wasm
} >SHA256SUMS
