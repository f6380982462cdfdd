# Fuzzing: sourced by tests/campaign/run, which has set $scratch and die.
#
# Each target first has to find the fault that is planted in its oracle (FOREBAY_FUZZ_PLANTED), then
# runs for its time from the committed corpus. What breaks a law is kept in fuzz/artifacts. A target
# for safe code alone is fastest without a sanitizer; FOREBAY_FUZZ_SANITIZER=address has one.
# FOREBAY_FUZZ_KEEP=DIR keeps what was found worth keeping there from run to run.

fuzz_targets=(batch_decode checkpoint compaction config index_lookup meta operations segment_recovery)

fuzz_build() { # sets fuzz_bin
  command -v cargo-fuzz >/dev/null || die "no cargo-fuzz (cargo install cargo-fuzz --locked)"
  cargo +nightly --version >/dev/null 2>&1 || die "no nightly toolchain (rustup toolchain install nightly)"
  export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/fuzz/target}
  cargo +nightly fuzz build --sanitizer "${FOREBAY_FUZZ_SANITIZER:-none}"
  fuzz_bin=$CARGO_TARGET_DIR/$(rustc +nightly -vV | sed -n 's/^host: //p')/release
}

# Runs a target; what it says is in $scratch/said.
fuzz_target() { # TARGET SECONDS DIRECTORY...
  local target=$1 seconds=$2
  shift 2
  mkdir -p fuzz/artifacts
  timeout $((seconds + 120)) nice -n 10 "$fuzz_bin/$target" -max_total_time="$seconds" \
    -max_len=1024 -timeout=20 -rss_limit_mb=1024 -print_final_stats=1 \
    -artifact_prefix="$fuzz_artifacts/$target-" "$@" >"$scratch/said" 2>&1
}

fuzz_said() { sed -n "s/^stat::$1: *//p" "$scratch/said" | tail -n 1; }

# How many executions it takes to find what was planted.
fuzz_planted() { # TARGET
  fuzz_artifacts=$scratch
  mkdir -p "$scratch/planted"
  if FOREBAY_FUZZ_PLANTED=1 fuzz_target "$1" 300 "$scratch/planted" "fuzz/corpus/$1"; then
    die "$1 has not found the planted fault in $(fuzz_said number_of_executed_units) executions"
  fi
  grep -q 'panicked at' "$scratch/said" || die "$1: $(tail -n 3 "$scratch/said")"
  fuzz_found=$(fuzz_said number_of_executed_units)
  rm -rf "$scratch/planted"
}

fuzz() { # [TARGET|all] [SECONDS]
  local wanted=${1:-all} seconds=${2:-60} target executions past crashes=0 found=() line
  local all=0 all_past=0 ran=()
  [[ $wanted == all || " ${fuzz_targets[*]} " == *" $wanted "* ]] || die "no target is called $wanted"
  fuzz_build
  for target in "${fuzz_targets[@]}"; do
    [[ $wanted == all || $wanted == "$target" ]] || continue
    fuzz_planted "$target"
    found+=("$target $fuzz_found")
    fuzz_artifacts=fuzz/artifacts
    local keep=${FOREBAY_FUZZ_KEEP:-$scratch/corpus}/$target
    mkdir -p "$keep"
    line=whole
    if ! fuzz_target "$target" "$seconds" "$keep" "fuzz/corpus/$target"; then
      crashes=$((crashes + 1))
      line="broken: $(grep -A 1 'panicked at' "$scratch/said" | tail -n 1)"
    fi
    executions=$(fuzz_said number_of_executed_units)
    past=$(sed -n 's/.*behind the first check: //p' "$scratch/said")
    all=$((all + ${executions:-0}))
    all_past=$((all_past + ${past:-0}))
    ran+=("$target")
    printf '| %s | %s executions | %s behind the first check | %s | %s |\n' "$target" \
      "${executions:-0}" "${past:-0}" "$(grep -o 'cov: [0-9]* ft: [0-9]*' "$scratch/said" | tail -n 1)" "$line"
  done
  echo "fuzz: $all executions of ${#ran[@]} targets, $all_past behind the first check, $seconds s each," \
    "$crashes broken laws; planted faults found after $(printf '%s, ' "${found[@]}" | sed 's/, $//') executions"
  [[ $crashes -eq 0 ]]
}

# Makes the committed corpus anew: of the seeds and of what a directory has below the targets' names,
# as little as covers as much.
fuzz_corpus() { # DIRECTORY
  local from=${1:?which directory} target
  fuzz_build
  FOREBAY_FUZZ_SEEDS=$scratch/seeds cargo test --quiet --all-features --test fuzz_corpus -- seeds_of_real_files_hold
  for target in "${fuzz_targets[@]}"; do
    mkdir -p "$scratch/new/$target" "$from/$target" "fuzz/corpus/$target"
    "$fuzz_bin/$target" -merge=1 -max_len=1024 "$scratch/new/$target" "$scratch/seeds/$target" \
      "fuzz/corpus/$target" "$from/$target" >"$scratch/said" 2>&1 || die "$target: $(tail -n 1 "$scratch/said")"
    rm -rf "fuzz/corpus/$target"
    mv "$scratch/new/$target" "fuzz/corpus/$target"
    echo "$target: $(find "fuzz/corpus/$target" -type f | wc -l) inputs"
  done
}
