#!/usr/bin/env bash
# Runs every fuzz target of converter/fuzz and runtime/fuzz under AddressSanitizer, from the committed seeds.
#   .ci/fuzz.sh [SECONDS]            each target for SECONDS (60)
#   .ci/fuzz.sh SECONDS TARGET...    only these
# New inputs gather in the crate's corpus/ (not committed), crashes in artifacts/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-60}"
shift || true
export CARGO_TERM_COLOR=never
export PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
command -v cargo-fuzz > /dev/null || cargo install cargo-fuzz --version ^0.13 --locked

# The sanitizer's compiler flags are unstable; this lets the stable compiler take them.
export RUSTC_BOOTSTRAP=1
for crate in converter runtime; do
    fuzz="$PWD/$crate/fuzz"
    [ -f "$fuzz/Cargo.toml" ] || continue
    for target in $(cargo fuzz list --fuzz-dir "$fuzz"); do
        [ $# = 0 ] || [[ " $* " = *" $target "* ]] || continue
        echo "-- $crate: $target, $seconds s"
        cargo fuzz build --fuzz-dir "$fuzz" "$target" 2>&1 | tail -n 1
        seeds=("$fuzz/corpus/$target" "$fuzz/seeds/$target")
        [ "$target" != onnx ] || seeds+=("$PWD/tests/fixtures/onnx")
        mkdir -p "$fuzz/corpus/$target" "$fuzz/seeds/$target" "$fuzz/artifacts/$target"
        log="$fuzz/artifacts/$target.log"
        if ! cargo fuzz run --fuzz-dir "$fuzz" "$target" "${seeds[@]}" -- \
            "-max_total_time=$seconds" -max_len=65536 -timeout=60 -rss_limit_mb=2048 -detect_leaks=0 -print_final_stats=1 \
            > "$log" 2>&1; then
            tail -n 60 "$log"
            exit 1
        fi
        grep -E "number_of_executed_units|peak_rss_mb" "$log"
    done
done
