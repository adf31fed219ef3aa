#!/usr/bin/env bash
# The model loader and the operators under AddressSanitizer: damaged model files (every byte flipped, every length cut)
# must end in an error or in a model that runs, without a byte read or written out of bounds.
#   .ci/asan.sh [TEST...]      integration tests of the crate `kenar-tests` (format)
set -euo pipefail
cd "$(dirname "$0")/.."
export CARGO_TERM_COLOR=never
# The sanitizer's compiler flag is unstable; this lets the stable compiler take it.
export RUSTC_BOOTSTRAP=1
export RUSTFLAGS="-Zsanitizer=address"
export ASAN_OPTIONS=detect_leaks=0
# With a target given, build scripts and procedural macros are compiled without the sanitizer.
target="$(rustc -vV | sed -n 's/^host: //p')"
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/asan"
for test in "${@:-format}"; do
    cargo test -p kenar-tests --test "$test" --target "$target"
done
