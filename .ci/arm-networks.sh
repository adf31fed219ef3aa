#!/usr/bin/env bash
# Runs the networks that the test `networks` left in target/networks on emulated ARM cores, with every instruction set
# each core has, and compares the output hashes with the host's. Expects the environment of .ci/setup-arm.sh.
set -euo pipefail
cd "$(dirname "$0")/.."
folder=target/networks
[ -s $folder/hashes.txt ] || cargo test --release -p kenar-tests --test networks
target=aarch64-unknown-linux-gnu
cargo build -p kenar --features std,detect --release --example hash --target $target
for cpu in cortex-a53 max; do
    n=0
    while read -r hash name; do
        while read -r got isa threads _; do
            [ "$got" = "$hash" ] || { echo "$name: $isa, $threads threads on $cpu: $got, host: $hash"; exit 1; }
            n=$((n + 1))
        done < <($KENAR_QEMU -cpu $cpu target/$target/release/examples/hash "$folder/$name")
    done < $folder/hashes.txt
    [ "$n" -ge "$(wc -l < $folder/hashes.txt)" ] || { echo "$cpu: only $n runs"; exit 1; }
    echo "$cpu: $n runs give the host's hashes"
done
