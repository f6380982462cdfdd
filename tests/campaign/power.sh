# Power cuts on real system calls: sourced by tests/campaign/run, which has set $scratch and die.
#
# The programs are those of tests/campaign/rig: they need root, /dev/fuse, and for ext4 loop devices
# and mkfs.ext4. Where they may not mount, they say so, and nothing was done. What breaks a law is
# printed; with RIG_KEEP=DIRECTORY in the environment, crashfs keeps such states there. RIG_SECONDS
# bounds a run by time as well. Files lie in /dev/shm, or in RIG_DIR, which has to lie in memory or
# on ext4 or xfs, as logs are mapped there.

power_may() { # PROGRAM
  [[ $(id -u) -eq 0 ]] || { echo "$1: mounting needs root: nothing was done"; return 1; }
  [[ -c /dev/fuse ]] || { echo "$1: no /dev/fuse: nothing was done"; return 1; }
  mkdir -p "$scratch/may"
  mount -t tmpfs -o size=1m may "$scratch/may" 2>/dev/null \
    || { echo "$1: mounting is not allowed here: nothing was done"; return 1; }
  umount "$scratch/may"
  [[ $1 == crashfs ]] && return
  [[ -c /dev/loop-control ]] || { echo "$1: no loop devices: nothing was done"; return 1; }
  command -v mkfs.ext4 >/dev/null || die "no mkfs.ext4 (Debian: e2fsprogs)"
}

power() { # crashfs|blocks|shutdown COUNT
  local target=${CARGO_TARGET_DIR:-tests/campaign/rig/target}
  power_may "$1" || return 0
  cargo build --quiet --release --manifest-path tests/campaign/rig/Cargo.toml --bin "$1"
  "$target/release/$1" run "$2"
}
