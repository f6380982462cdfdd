# Data races and bad memory, under the system's own threads: sourced by tests/campaign/run, which has
# set $scratch and die.
#
# Needs a nightly compiler with the sources of the standard library, which is built anew so that what
# it does is seen too: rustup toolchain install nightly --component rust-src. Nothing is suppressed.

# The tests with many threads, and those that follow, map, fork and close.
sanitizers_programs=(--test archive --test follow --test log --test retention --test store)
sanitizers_tests=(concurrency:: background:: api_lifecycle:: consumers:: logs:: reader:: live_budget:: store::)

sanitizers_cargo_test() { # TARGET ARGUMENT..., with what it says at the end of two files
  cargo +nightly test -Zbuild-std --all-features --target "$@" >>"$scratch/out" 2>>"$scratch/told"
}

sanitizers_run() { # thread|address
  local kind=$1 host ran
  host=$(rustc -vV | sed -n 's/^host: //p')
  # What is planted: a race of two threads, a read behind the end of a box.
  rustc +nightly -Zsanitizer="$kind" -Cunsafe-allow-abi-mismatch=sanitizer --edition 2024 \
    -o "$scratch/misuse" tests/campaign/rig/src/bin/misuse.rs
  ! "$scratch/misuse" "$kind" >"$scratch/planted" 2>&1 || die "$kind: the planted fault was not found"
  grep -m 1 -E 'WARNING: ThreadSanitizer|ERROR: AddressSanitizer' "$scratch/planted" >&2 \
    || { tail -n 20 "$scratch/planted"; die "$kind: the planted fault was not found"; }
  rm -f "$scratch/out" "$scratch/told"
  (
    export RUSTFLAGS="-Zsanitizer=$kind -Cdebuginfo=line-tables-only -Copt-level=1"
    export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/sanitizers-$kind"
    sanitizers_cargo_test "$host" --lib &&
      sanitizers_cargo_test "$host" "${sanitizers_programs[@]}" -- "${sanitizers_tests[@]}"
  ) || { tail -n 60 "$scratch/told" "$scratch/out"; die "$kind found something"; }
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
