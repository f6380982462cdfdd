# shellcheck shell=bash
# Sourced by tests/campaign/run: how good the tests are. Mutants and branch coverage of what decides
# over durability, and the whole suite as it is released.

# What has to be right for a record to survive: the order is the one the mutants are run in.
RECOVERY=(src/disk/checkpoint.rs src/disk/slot.rs src/disk/state.rs src/log/flush.rs src/log/recover.rs
  src/log/rewrite.rs src/log/scan.rs src/log/identify.rs src/log/inspect.rs src/log/chain.rs
  src/disk/aside.rs src/log/open.rs)
SEGMENT=(src/disk/segment.rs src/disk/active.rs src/disk/walk.rs src/disk/set.rs)
CODEC=('src/codec/*.rs')
# The tests that come near them; more only take longer to build.
NEAR=(bad compat crash crash_states files forks log replicator retention simulation store)

needs() { # COMMAND CRATE
  command -v "$1" >/dev/null || die "needs $1: cargo install $2 --locked"
}

# All mutants of cargo-mutants for these files, woven into one build (see the program's head). Goes on
# where the run before it ended: remove target/mutants/results to begin anew.
mutants() { # [K/N [MINUTES [OPTION...]]], the program's options
  local shard=${1:-0/1} minutes=${2:-55} near
  shift $(($# < 2 ? $# : 2))
  needs cargo-mutants cargo-mutants
  near=$(printf -- '--test %s ' "${NEAR[@]}")
  cargo build --quiet --release --manifest-path tests/campaign/mutants/Cargo.toml
  mkdir -p target/mutants
  # shellcheck disable=SC2086
  CARGO_TARGET_DIR=$PWD/target/mutants/target \
    tests/campaign/mutants/target/release/forebay-mutants "$PWD" target/mutants target/mutants/results \
    --minutes "$minutes" --shard "$shard" "$@" $near "${RECOVERY[@]}" "${SEGMENT[@]}" "${CODEC[@]}"
  grep -E '^(missed|unmet)' target/mutants/results | cut -f 3 | sort >"$scratch/survivors"
  local unexplained
  unexplained=$(grep -vxFf <(sed -nE 's/^- `(.*)`.*/\1/p' tests/campaign/mutants/survivors.md | sort) \
    <(sed -E 's/:[0-9]+:[0-9]+:/:/' "$scratch/survivors") || true)
  [[ -z $unexplained ]] || die "survivors that tests/campaign/mutants/survivors.md does not explain: $unexplained"
}

# Lines and branches that the whole suite takes, of the files above. What only runs out of its time
# because it is instrumented is said, and counts as far as it came.
coverage() { # [OPTION...] for the tests: --lib
  needs cargo-llvm-cov cargo-llvm-cov
  local files environment
  rustup component add llvm-tools --toolchain nightly >/dev/null 2>&1 || true
  environment=$(cargo +nightly llvm-cov show-env --export-prefix --branch 2>/dev/null)
  (
    eval "$environment"
    cargo +nightly llvm-cov clean --workspace
    cargo +nightly test --all-features --no-fail-fast "${@:---tests}" >"$scratch/tests" 2>&1 \
      || grep '[.][.][.] FAILED$' "$scratch/tests"
    cargo +nightly llvm-cov report --branch --json --summary-only \
      --output-path "$scratch/coverage.json"
  )
  for files in src/codec/ src/log/recover.rs src/log/rewrite.rs src/log/scan.rs src/log/identify.rs \
    src/log/inspect.rs src/log/chain.rs src/log/open.rs src/disk/aside.rs src/disk/checkpoint.rs \
    src/disk/slot.rs src/disk/state.rs; do
    jq -r --arg name "/$files" '[.data[0].files[] | select(.filename | contains($name)) | .summary]
      | [(map(.lines.covered) | add), (map(.lines.count) | add), (map(.branches.covered) | add),
         (map(.branches.count) | add)] | @tsv' "$scratch/coverage.json" |
      awk -v name="$files" '{ printf "coverage: %s %d of %d lines, %d of %d branches\n", name, $1, $2, $3, $4 }'
  done
}

# As it is released: with our assertions, and without them, where tests take all their cases.
optimised() {
  local directory=${CARGO_TARGET_DIR:-target}
  CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true \
    CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 \
    CARGO_TARGET_DIR="$directory/assertions" cargo test --release --all-features
  cargo test --release --all-features
  echo "optimised: the suite passes as released, with assertions and without"
}
