#!/usr/bin/env bash
# Runs every fuzz target of converter/fuzz and runtime/fuzz under AddressSanitizer, from the committed seeds, one on each core.
#   .ci/fuzz.sh [SECONDS]            each target for SECONDS (60)
#   .ci/fuzz.sh SECONDS TARGET...    only these
# New inputs gather in the crate's corpus/ (not committed), crashes in artifacts/.
set -euo pipefail
cd "$(dirname "$0")/.."
seconds="${1:-60}"
shift || true
source .ci/sanitized.sh

# fuzz CRATE TARGET
fuzz() {
    local fuzz="$PWD/$1/fuzz" target="$2"
    local seeds=("$fuzz/corpus/$target" "$fuzz/seeds/$target")
    [ "$target" != onnx ] || seeds+=("$PWD/tests/fixtures/onnx")
    mkdir -p "$fuzz/corpus/$target" "$fuzz/seeds/$target" "$fuzz/artifacts/$target"
    local log="$fuzz/artifacts/$target.log" status=0
    "$sanitized/$host/release/$target" "-artifact_prefix=$fuzz/artifacts/$target/" "${seeds[@]}" \
        "-max_total_time=$seconds" -max_len=65536 -timeout=60 -rss_limit_mb=2048 -detect_leaks=0 -print_final_stats=1 \
        > "$log" 2>&1 || status=$?
    # In one piece, as others run beside it.
    if [ $status = 0 ]; then
        printf -- '-- %s: %s, %s s\n%s\n' "$1" "$target" "$seconds" "$(grep -E "number_of_executed_units|peak_rss_mb" "$log")"
    else
        printf -- '-- %s: %s failed\n%s\n' "$1" "$target" "$(tail -n 60 "$log")"
    fi
    return $status
}

sanitized build --bins 2>&1 | tail -n 1
pids=()
for crate in converter runtime; do
    for source in "$crate"/fuzz/fuzz_targets/*.rs; do
        target="$(basename "$source" .rs)"
        [ $# = 0 ] || [[ " $* " = *" $target "* ]] || continue
        while [ "$(jobs -rp | wc -l)" -ge "$(nproc)" ]; do sleep 1; done
        fuzz "$crate" "$target" &
        pids+=($!)
    done
done
failed=0
for pid in "${pids[@]}"; do wait "$pid" || failed=1; done
exit $failed
