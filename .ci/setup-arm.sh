#!/usr/bin/env bash
# Installs what the ARM and bare-metal checks need, once: Rust targets, the cross linker, QEMU.
# Prints shell code for `eval`: linkers, emulator, and the compiler to use (rustup's where it has the targets, else Debian's).
set -euo pipefail
targets="aarch64-unknown-linux-gnu aarch64-unknown-none thumbv7em-none-eabihf"
packages="gcc-aarch64-linux-gnu libc6-dev-arm64-cross qemu-user-static qemu-system-arm"
root=""
[ "$(id -u)" = 0 ] || root="sudo"

have_targets() {
    local lib; lib="$(rustc --print sysroot)/lib/rustlib"
    for t in $targets; do [ -d "$lib/$t/lib" ] || return 1; done
}

if ! have_targets; then
    # shellcheck disable=SC2086
    timeout 300 rustup target add $targets >&2 || {
        dpkg --print-foreign-architectures | grep -qx arm64 || $root dpkg --add-architecture arm64
        packages="$packages rustc-web libstd-rust-web-dev:arm64 rust-web-src lld-19"
    }
fi
missing=
for p in $packages; do
    dpkg-query -W -f '${Status}' "$p" 2>/dev/null | grep -q 'ok installed' || missing="$missing $p"
done
if [ -n "$missing" ]; then
    export DEBIAN_FRONTEND=noninteractive
    $root apt-get update -qq >&2
    # shellcheck disable=SC2086
    $root apt-get install -y -qq --no-install-recommends $missing >&2
fi

echo "export CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc"
# With libc6:arm64 installed, loader and libc of / belong together; the cross package's would mix two builds.
sysroot=" -L /usr/aarch64-linux-gnu"
[ ! -e /lib/ld-linux-aarch64.so.1 ] || sysroot=
echo "export KENAR_QEMU='qemu-aarch64-static$sysroot'"
if have_targets; then
    echo "export KENAR_BUILD_STD="
else
    echo "export RUSTC=/usr/bin/rustc RUSTDOC=/usr/bin/rustdoc RUSTC_BOOTSTRAP=1"
    echo "export CARGO_TARGET_THUMBV7EM_NONE_EABIHF_LINKER=ld.lld-19 CARGO_TARGET_AARCH64_UNKNOWN_NONE_LINKER=ld.lld-19"
    echo "export KENAR_BUILD_STD=-Zbuild-std=core,alloc"
fi
