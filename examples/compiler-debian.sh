#!/usr/bin/env bash
# compiler-debian.sh DIR: a rustc for wasm32-wasip1 and wasm32-wasip2, with its standard library, in DIR; for Debian on x86-64 where
# `rustup target add` has no server to ask. Needs root (apt-get) and an installed Rust toolchain, whose cargo and wasm linkers it uses.
#
#   DIR/bin/rustc-wasm    Debian's rustc with DIR as its sysroot: RUSTC=DIR/bin/rustc-wasm cargo build --target wasm32-wasip2
#   DIR/lib/rustlib       that sysroot: the libraries of the host linked in, those of the targets built here from Debian's sources
#   DIR/wasi-libc         the C library of WASI, from a newer Debian, unpacked and not installed
set -euo pipefail
sysroot=$(realpath -m "${1:?usage: compiler-debian.sh DIR}")
suite=${WASI_LIBC_SUITE:-forky}
host=x86_64-unknown-linux-gnu
targets="wasm32-wasip1 wasm32-wasip2"
rustlib=$sysroot/lib/rustlib
mkdir -p "$sysroot/bin" "$rustlib/$host"

install_rustc() {
  [ -x /usr/bin/rustc ] && [ -d /usr/lib/rustlib/src/rust/library ] && return
  apt-get -qq update
  apt-get -qq install -y --no-install-recommends rustc-web rust-web-src >/dev/null
}

# wasi-libc with the sockets of preview 2 is in no stable Debian yet. It has no dependencies, so it is taken from a newer suite of
# the mirror that this machine uses already, without telling the system of that suite.
unpack_wasi_libc() {
  [ -e "$sysroot/wasi-libc/usr/lib/wasm32-wasip2/libc.a" ] && return
  local apt mirror options
  apt=$(mktemp -d)
  mkdir -p "$apt/lists/partial" "$apt/cache/archives/partial"
  mirror=$(apt-get indextargets --format '$(REPO_URI)' "Created-By: Packages" "Label: Debian" | sort -u | head -1)
  echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $mirror $suite main" >"$apt/sources.list"
  options=(-o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=- -o Dir::State::lists="$apt/lists"
    -o Dir::Cache="$apt/cache" -o APT::Sandbox::User=root -o Acquire::Languages=none
    -o Acquire::IndexTargets::deb::DEP-11::DefaultEnabled=false)
  apt-get "${options[@]}" -qq update
  (cd "$apt" && apt-get "${options[@]}" -qq download wasi-libc && dpkg -x wasi-libc_*.deb "$sysroot/wasi-libc")
  rm -rf "$apt"
}

make_sysroot() {
  ln -sfn /usr/lib/rustlib/src "$rustlib/src"
  ln -sfn "/usr/lib/rustlib/$host/lib" "$rustlib/$host/lib"
  # rust-lld and wasm-component-ld come with the installed toolchain.
  ln -sfn "$(cd / && rustc --print sysroot)/lib/rustlib/$host/bin" "$rustlib/$host/bin"
  local target libc
  for target in $targets; do
    mkdir -p "$rustlib/$target/lib/self-contained"
    libc=$sysroot/wasi-libc/usr/lib/${target/wasip1/wasi}
    cp "$libc/crt1-command.o" "$libc/crt1-reactor.o" "$libc/libc.a" "$rustlib/$target/lib/self-contained/"
  done
  printf '#!/bin/sh\nexec /usr/bin/rustc --sysroot "%s" "$@"\n' "$sysroot" >"$sysroot/bin/rustc-wasm"
  chmod +x "$sysroot/bin/rustc-wasm"
}

# The standard library of a target: cargo builds it for an empty crate, and its libraries are kept.
build_std() {
  local target=$1 work
  compgen -G "$rustlib/$target/lib/libstd-*.rlib" >/dev/null && return
  work=$(mktemp -d)
  mkdir "$work/src"
  touch "$work/src/lib.rs"
  printf '[package]\nname = "empty"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n' >"$work/Cargo.toml"
  (cd "$work" && RUSTC="$sysroot/bin/rustc-wasm" RUSTC_BOOTSTRAP=1 CARGO_TARGET_DIR="$work/target" \
    RUSTFLAGS="-Cembed-bitcode=yes --remap-path-prefix=$rustlib/src/rust=/rust --remap-path-prefix=${CARGO_HOME:-$HOME/.cargo}=/cargo" \
    cargo build -q --release -Zbuild-std=std,panic_abort --target "$target")
  rm -f "$work/target/$target/release/deps/"libempty-*
  cp "$work/target/$target/release/deps/"lib*.r* "$rustlib/$target/lib/"
  rm -rf "$work"
}

install_rustc
unpack_wasi_libc
make_sysroot
for target in $targets; do build_std "$target"; done
