# For `source`: compiles with AddressSanitizer and the counters of libFuzzer, for .ci/asan.sh and .ci/fuzz.sh. Test and fuzz
# targets have one set of flags and one folder, so that the kernels and libFuzzer are compiled once.
export CARGO_TERM_COLOR=never
# The sanitizer's compiler flags are unstable; this lets the stable compiler take them.
export RUSTC_BOOTSTRAP=1
export ASAN_OPTIONS=detect_leaks=0:detect_odr_violation=0
sanitized="${CARGO_TARGET_DIR:-$PWD/target}/sanitized"
# With a target given, build scripts and procedural macros are compiled without the sanitizer.
host="$(rustc -vV | sed -n 's/^host: //p')"

# What `cargo fuzz` sets, but for two things that decide over minutes, as kernels are long functions: the sanitizer checks
# by calls, not in the code, and crates are divided into units, for all cores.
coverage="-sanitizer-coverage-level=4 -sanitizer-coverage-inline-8bit-counters -sanitizer-coverage-pc-table
    -sanitizer-coverage-trace-compares -sanitizer-coverage-stack-depth -simplifycfg-branch-fold-threshold=0"
RUSTFLAGS="--cfg fuzzing -Zsanitizer=address -Cllvm-args=-asan-instrumentation-with-call-threshold=0 -Cpasses=sancov-module"
for flag in $coverage; do RUSTFLAGS+=" -Cllvm-args=$flag"; done
export RUSTFLAGS
export CARGO_PROFILE_RELEASE_OPT_LEVEL=3 CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_LTO=off
export CARGO_PROFILE_RELEASE_DEBUG=line-tables-only CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true

# sanitized COMMAND ARGUMENTS...: `cargo build` or `cargo test` of the fuzz crates. Always of both: features are united.
sanitized() {
    cargo "$1" --release --locked --manifest-path .ci/fuzz/Cargo.toml --workspace --target "$host" --target-dir "$sanitized" "${@:2}"
}
