# Data races and bad memory, under the system's own threads: sourced by tests/campaign/run, which has
# set $scratch and die.
#
# Needs a nightly compiler with the sources of the standard library, which is built anew so that what
# it does is seen too: rustup toolchain install nightly --component rust-src. Nothing is suppressed.

# The tests with many threads, and those that follow, map, fork and close.
sanitizers_tests=(concurrency background store follow_live api_lifecycle live_budget consumers archive_store)

sanitizers_run() { # thread|address
  local kind=$1 host name tests=(--lib) ran
  host=$(rustc -vV | sed -n 's/^host: //p')
  for name in "${sanitizers_tests[@]}"; do tests+=(--test "$name"); done
  # What is planted: a race of two threads, a read behind the end of a box.
  rustc +nightly -Zsanitizer="$kind" -Cunsafe-allow-abi-mismatch=sanitizer --edition 2024 \
    -o "$scratch/misuse" tests/campaign/rig/src/bin/misuse.rs
  ! "$scratch/misuse" "$kind" >"$scratch/planted" 2>&1 || die "$kind: the planted fault was not found"
  grep -m 1 -E 'WARNING: ThreadSanitizer|ERROR: AddressSanitizer' "$scratch/planted" >&2 \
    || { tail -n 20 "$scratch/planted"; die "$kind: the planted fault was not found"; }
  RUSTFLAGS="-Zsanitizer=$kind -Cdebuginfo=line-tables-only -Copt-level=1" \
    CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/sanitizers-$kind" \
    cargo +nightly test -Zbuild-std --target "$host" --all-features "${tests[@]}" >"$scratch/out" 2>"$scratch/told" \
    || { tail -n 60 "$scratch/told" "$scratch/out"; die "$kind found something"; }
  ! grep -qE 'ThreadSanitizer|AddressSanitizer' "$scratch/told" "$scratch/out" || die "$kind found something"
  ran=$(awk '/^test result: ok/ { all += $4 } END { print all }' "$scratch/out")
  echo "sanitizers: $kind: $ran tests, nothing found; the planted fault was"
}

sanitizers() { # [thread|address]
  local kind
  [[ -d $(rustc +nightly --print sysroot)/lib/rustlib/src/rust/library ]] \
    || die "no sources of the standard library (rustup component add rust-src --toolchain nightly)"
  # Tests that fork leave behind what their children had no time to free.
  export TSAN_OPTIONS="halt_on_error=1 exitcode=66" ASAN_OPTIONS="detect_leaks=0 exitcode=66"
  for kind in ${1:-thread address}; do sanitizers_run "$kind"; done
}
