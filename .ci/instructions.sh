#!/usr/bin/env bash
# Counts the instructions of some kernels and two small networks (benches/instructions.rs) under callgrind and compares
# them with benches/instructions.txt. More than 3 % above it is an error.
#   .ci/instructions.sh             count and compare
#   .ci/instructions.sh --update    count and write the baseline
# Counts are the same on every machine with one compiler; with another one there is nothing to compare with.
set -euo pipefail
cd "$(dirname "$0")/.."
baseline=benches/instructions.txt
limit=3
export CARGO_TERM_COLOR=never PATH="$PATH:${CARGO_HOME:-$HOME/.cargo}/bin"
rustc="$(rustc --version)"

[ "$(uname -m)" = x86_64 ] || { echo "skipped: the baseline is for x86-64, this is $(uname -m)"; exit 0; }
recorded="$(sed -n 's/^compiler: //p' "$baseline" 2>/dev/null || true)"
if [ "${1:-}" != --update ] && [ "$rustc" != "$recorded" ]; then
    echo "skipped: the baseline is of '$recorded', this is '$rustc'"
    exit 0
fi

# The tools, once: valgrind from the system, the runner of the version that Cargo.lock names.
if ! command -v valgrind > /dev/null; then
    root=""
    [ "$(id -u)" = 0 ] || root="sudo"
    echo "installing valgrind"
    { $root apt-get update -qq && $root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends valgrind; } > /dev/null || {
        echo "valgrind is not installed and apt-get cannot install it; install it by hand" >&2
        exit 1
    }
fi
version="$(sed -n '/^name = "gungraun"$/{n;s/version = "\(.*\)"/\1/p}' Cargo.lock)"
if [ "$(gungraun-runner --version 2> /dev/null)" != "gungraun-runner $version" ]; then
    echo "installing gungraun-runner $version"
    # Unoptimised: it starts valgrind and reads small files, and takes minutes to optimise.
    CARGO_PROFILE_DEV_DEBUG=0 cargo install -q --debug gungraun-runner --version "=$version" --locked
fi

sets="avx2 scalar"
grep -qw avx2 /proc/cpuinfo || { echo "this machine has no AVX2: only scalar is counted"; sets=scalar; }
[ "$sets" = "avx2 scalar" ] || [ "${1:-}" != --update ] || { echo "a baseline needs AVX2" >&2; exit 1; }

work=target/instructions
rm -rf "$work"
mkdir -p "$work"
filter=()
[ "$sets" = "avx2 scalar" ] || filter=("instructions::counts::scalar::*")
GUNGRAUN_HOME="$PWD/$work" cargo bench -q --workspace --bench instructions -- "${filter[@]}" > "$work/log" 2>&1 || {
    tail -n 40 "$work/log"
    exit 1
}

# One folder per benchmark, NAME.SET-or-CASE, with callgrind's totals in it.
counts="$work/counts"
find "$work" -name 'callgrind.*.out' | sort | while read -r file; do
    name="$(basename "$(dirname "$file")")"
    awk -v name="$name" '/^(totals|summary):/ { total = $2 } END { print name, total }' "$file"
done > "$counts"
[ -s "$counts" ] || { echo "callgrind counted nothing:"; tail -n 40 "$work/log"; exit 1; }

if [ "${1:-}" = --update ]; then
    {
        echo "# Instructions counted by .ci/instructions.sh, which also writes this file (--update)."
        echo "compiler: $rustc"
        cat "$counts"
    } > "$baseline"
    echo "wrote $baseline: $(wc -l < "$counts") counts"
    exit 0
fi

awk -v limit="$limit" -v sets="$sets" '
    FNR == NR { if (NF == 2 && $1 !~ /^(#|compiler:)/) old[$1] = $2; next }
    { new[$1] = $2 }
    END {
        for (name in old) {
            split(name, part, ".")
            if (!index(" " sets " ", " " part[1] " ")) continue
            if (!(name in new)) { printf "%-28s is in the baseline and was not counted\n", name; bad = 1; continue }
            change = 100 * (new[name] / old[name] - 1)
            mark = change > limit ? "  TOO MANY" : change < -limit ? "  fewer: update the baseline" : ""
            printf "%-28s %12d %12d %+7.2f %%%s\n", name, old[name], new[name], change, mark
            if (change > limit) bad = 1
        }
        for (name in new) if (!(name in old)) { printf "%-28s is not in the baseline\n", name; bad = 1 }
        exit bad
    }' "$baseline" "$counts" | sort || {
    echo "More than $limit % above $baseline, or another list. If that is meant: .ci/instructions.sh --update, and commit the file with the reason."
    exit 1
}
