# The programs of tests/campaign/rig: sourced by tests/campaign/run, which has set $scratch and die.

# Builds them, or those that are named, with the Kafka upstream (all, if RIG_KAFKA is set, so that one
# build serves both); sets $rig to where they are, and
# $ram to a directory in memory if there is one: what no power cut is about needs no device.
rig_build() { # [PROGRAM...]
  local program
  local programs=()
  if (($# > 0)) || [[ -n ${RIG_KAFKA:-} ]]; then programs=(--features kafka); fi
  (($# > 0)) || set -- probe kill sweep limits clocks hazards
  for program in "$@"; do programs+=(--bin "$program"); done
  cargo build --quiet --release --manifest-path tests/campaign/rig/Cargo.toml "${programs[@]}"
  rig=${CARGO_TARGET_DIR:-tests/campaign/rig/target}/release
  ram=$(mktemp -d -p /dev/shm 2>/dev/null || mktemp -d)
  trap 'kafka_stop KILL; rm -rf "$scratch" "$ram"' EXIT
}

# The shim that makes the Nth call fail.
rig_shim() { # NAME
  command -v cc >/dev/null || die "no cc (Debian: gcc)"
  cc -O2 -Wall -Wextra -shared -fPIC -o "$scratch/$1.so" "tests/campaign/rig/c/$1.c" -ldl
}

# A command that has to fail, because a fault is planted.
rig_planted() { # WHAT COMMAND...
  local what=$1
  shift
  if "$@" >"$scratch/planted" 2>&1; then
    cat "$scratch/planted"
    die "the planted fault was not found: $what"
  fi
  grep -q '^BAD ' "$scratch/planted" || die "$what: $(tail -n 3 "$scratch/planted")"
  echo "planted and found: $what: $(grep -m 1 '^BAD ' "$scratch/planted" | cut -c 1-160)"
  find "$ram" -mindepth 1 -delete
}
