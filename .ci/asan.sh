#!/usr/bin/env bash
# The model loader and the operators under AddressSanitizer: damaged model files (every byte flipped, every length cut)
# must end in an error or in a model that runs, without a byte read or written out of bounds.
#   .ci/asan.sh [TEST...]      tests of the crate `runtime/fuzz` (format)
set -euo pipefail
cd "$(dirname "$0")/.."
source .ci/sanitized.sh
for test in "${@:-format}"; do
    sanitized test --test "$test"
done
