#!/usr/bin/env bash
# Converts the demo network, builds the firmware that carries it, runs it on the emulated board, and compares its output
# hash with the host's. Expects the environment that `eval "$(.ci/setup-arm.sh)"` sets.
set -euo pipefail
cd "$(dirname "$0")/.."
demo=tests/fixtures/demo
model=$PWD/target/firmware/demo.kenar
mkdir -p target/firmware

# With the features that the whole workspace asks for, as its tests are built; with fewer the converter is compiled again.
env -u RUSTC -u RUSTDOC cargo build -q --release --workspace --features kenar/std,kenar/detect --bin kenar --example hash
target/release/kenar convert $demo/model.safetensors --preset cifar10 --calib $demo/calib.bin -o "$model"
host=$(target/release/examples/hash "$model" | grep -oE '[0-9a-f]{16}' | sort -u)
[ "$(wc -l <<<"$host")" = 1 ] || { echo "the host's instruction sets disagree: $host"; exit 1; }

target=thumbv7em-none-eabihf
cd boards/qemu-mps2
# shellcheck disable=SC2086
KENAR_MODEL="$model" cargo build --release ${KENAR_BUILD_STD:-} --target-dir ../../target/firmware/build
elf=../../target/firmware/build/$target/release/kenar-qemu-mps2
out=$(timeout 300 qemu-system-arm -M mps2-an500 -display none -serial none -monitor none \
    -semihosting-config enable=on,target=native -kernel "$elf")
echo "$out"
board=$(grep -oE 'hash [0-9a-f]{16}' <<<"$out" | cut -d' ' -f2)
if command -v size >/dev/null; then size "$elf"; fi
[ "$board" = "$host" ] || { echo "board $board, host $host: different outputs"; exit 1; }
echo "board and host give the same output hash: $host"
