#!/usr/bin/env bash
# build.sh: builds the guest `toolbox` of the tests, once for each WASI, and puts it beside the other guests. Running the tests does not
# need it: the built guests are committed. The compiler is chosen as in examples/build.sh; RUSTC names another one.
set -euo pipefail
cd "$(dirname "$0")"

rustup target add wasm32-wasip1 wasm32-wasip2 || export RUSTC="${RUSTC:-$PWD/../../../.cache/wasm-sysroot/bin/rustc-wasm}"
for target in wasm32-wasip1 wasm32-wasip2; do
  # Paths of the machine that builds do not belong into the guests, nor may they change their checksums.
  RUSTFLAGS="--remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo --remap-path-prefix=$PWD=/toolbox" \
    cargo build --locked --quiet --release --target "$target"
done
install -m 644 "${CARGO_TARGET_DIR:-target}/wasm32-wasip1/release/toolbox.wasm" ../toolbox-preview1.wasm
install -m 644 "${CARGO_TARGET_DIR:-target}/wasm32-wasip2/release/toolbox.wasm" ../toolbox.wasm
cd ..
{
  echo "# Built by $("${RUSTC:-rustc}" --version)."
  sha256sum toolbox.wasm toolbox-preview1.wasm
} >SHA256SUMS
