# Full disks, for real: sourced by tests/campaign/run, which has set $scratch and die.
#
# Each run has a small filesystem of its own with a ballast file on it. The example `fill` appends
# until it is full; another process reads what was acknowledged; then, in a third of the runs each,
# the program is killed and its log opened on the full disk, or stopped by its own end, or goes on.
# The ballast is removed, and appends go on by themselves; the older half is deleted, and they go on
# again. At the end everything acknowledged and not deleted or dropped is there.

full_pid=

# Mounts a filesystem of some megabytes at $scratch/full.
full_mount() { # ext4-1k|ext4-4k|pieces|tmpfs MEGABYTES
  local block=4096
  mkdir -p "$scratch/full"
  if [[ $1 == tmpfs ]]; then
    mount -t tmpfs -o "size=${2}m" full "$scratch/full"
    return
  fi
  [[ $1 != ext4-1k ]] || block=1024
  truncate -s "${2}M" "$scratch/full.img"
  mkfs.ext4 -q -m 0 -b $block "$scratch/full.img"
  mount -o loop "$scratch/full.img" "$scratch/full"
  [[ $1 != pieces ]] || full_break
}

# Leaves half of the space free, in pieces of two blocks.
full_break() {
  mkdir "$scratch/full/pieces"
  head -c 1G /dev/zero | split -a 6 -b 8192 - "$scratch/full/pieces/" 2>/dev/null || true
  find "$scratch/full/pieces" -type f | awk 'NR % 2' | xargs rm
  sync -f "$scratch/full"
}

full_unmount() {
  if [[ -n $full_pid ]]; then
    kill -KILL "$full_pid" 2>/dev/null || true
    wait "$full_pid" 2>/dev/null || true
  fi
  full_pid=
  ! mountpoint -q "$scratch/full" || umount "$scratch/full"
  rm -f "$scratch/full.img"
}

full_may_mount() {
  [[ $(id -u) -eq 0 ]] || { echo "full-disk: mounting needs root: nothing was done"; return 1; }
  mkdir -p "$scratch/full"
  mount -t tmpfs -o size=1m full "$scratch/full" 2>/dev/null \
    || { echo "full-disk: mounting is not allowed here: nothing was done"; return 1; }
  umount "$scratch/full"
  command -v mkfs.ext4 >/dev/null || die "no mkfs.ext4 (Debian: e2fsprogs)"
}

# Waits until the writer has said a line that begins so, so many times.
full_wait() { # WORD TIMES
  local n
  for ((n = 0; n < 1200; n++)); do
    [[ $(grep -c "^$1 " "$scratch/said") -ge $2 ]] && return 0
    kill -0 "$full_pid" 2>/dev/null || break
    sleep 0.1
  done
  wait "$full_pid"
  echo "full-disk: the writer ended ($?) or hangs before line $2 of $1: $(tail -n 1 "$scratch/complaints")"
  return 1
}

full_free_kib() { df --output=avail -k "$scratch/full" | tail -n 1 | tr -d ' '; }

# One past the last record that was acknowledged so far.
full_acknowledged() { awk '$1 == "A" { end = $3 } END { print end + 0 }' "$scratch/said"; }

# What a check says has to reach from the start the writer knows to all it acknowledged.
full_judge() { # LINE ACKNOWLEDGED WHO
  local word start end committed
  read -r word start end committed <<<"$1"
  [[ $word == R && $end -ge $2 ]] && return 0
  echo "full-disk: $3 says '$1', acknowledged were $2: $(tail -n 1 "$scratch/complaints")"
  return 1
}

full_start() { # OPTIONS OF fill...
  "$full_program" write "$scratch/full/log" "$@" <"$scratch/orders" \
    >>"$scratch/said" 2>>"$scratch/complaints" &
  full_pid=$!
}

# One run; a line of the table, or what went wrong.
full_run() { # FILESYSTEM MEGABYTES MODE ON-FULL FLUSH WAY plain|torn|thread
  local words=(--on-full "$4" --flush "$5") acknowledged line free
  [[ $3 == mapped ]] || words+=(--positioned)
  case $7 in
    torn) words+=(--torn) ;;
    thread) words+=(--background) ;;
  esac
  # Flushed one by one: larger ones, or it takes minutes.
  [[ $5 != append ]] || words+=(--record-bytes 9000)
  full_mount "$1" "$2"
  head -c 3M /dev/urandom >"$scratch/full/ballast"
  : >"$scratch/said"
  : >"$scratch/complaints"
  rm -f "$scratch/orders"
  mkfifo "$scratch/orders"
  exec 8<>"$scratch/orders"
  full_start "${words[@]}"
  full_wait F 1 || return 1
  free=$(full_free_kib)
  acknowledged=$(full_acknowledged)
  line=$("$full_program" check "$scratch/full/log" --read-only 2>>"$scratch/complaints")
  full_judge "$line" "$acknowledged" "another process" || return 1
  local laps=0
  if [[ $6 == killed ]]; then
    kill -KILL "$full_pid"
    wait "$full_pid" 2>/dev/null
    line=$("$full_program" check "$scratch/full/log" 2>>"$scratch/complaints")
    full_judge "$line" "$acknowledged" "the next owner" || return 1
    [[ ${line##* } -eq $acknowledged ]] \
      || { echo "full-disk: committed were $acknowledged, found: $line"; return 1; }
    # The disk is as full as before: the next owner finds no room either.
    full_start "${words[@]}"
    laps=1
    full_wait F 2 || return 1
  fi
  rm "$scratch/full/ballast"
  echo go >&8
  full_wait F $((laps + 2)) || return 1
  acknowledged=$(full_acknowledged)
  line=$("$full_program" check "$scratch/full/log" --read-only 2>>"$scratch/complaints")
  full_judge "$line" "$acknowledged" "another process, with room again" || return 1
  echo go >&8
  full_wait F $((laps + 3)) || return 1
  if [[ $6 == late ]]; then
    # Killed at the end of the last lap instead of closed.
    kill -KILL "$full_pid"
    wait "$full_pid" 2>/dev/null
  else
    echo go >&8
    wait "$full_pid" || { echo "full-disk: ended with $?: $(tail -n 1 "$scratch/complaints")"; return 1; }
  fi
  full_pid=
  full_end "$6" || return 1
  printf '| %s, %s MB | %s, %s | %s | %s | %s | %s | %s | %s | %s | %s |\n' "$1" "$2" "$3" "$7" \
    "$4" "$5" "$6" "$free" $((full_end_offset)) $((full_readable)) $((full_dropped)) $((full_deleted))
}

# Appended is readable, dropped and deleted together, and not one record is anywhere else.
full_end() { # WAY
  local line word start committed
  acknowledged=$(full_acknowledged)
  line=$("$full_program" check "$scratch/full/log" 2>>"$scratch/complaints")
  full_judge "$line" "$acknowledged" "who opens it at the end" || return 1
  read -r word start full_end_offset committed <<<"$line"
  full_readable=$((full_end_offset - start))
  full_deleted=$(awk '$1 == "X" { sum += $3 - $2 } END { print sum + 0 }' "$scratch/said")
  full_dropped=$((start - full_deleted))
  [[ $full_dropped -ge 0 && $full_readable -gt 0 ]] \
    || { echo "full-disk: $line, deleted $full_deleted"; return 1; }
  if [[ $1 != late ]]; then
    line=$(grep '^Z ' "$scratch/said" | tail -n 1)
    [[ $line == "Z start $start end $full_end_offset dropped "* ]] \
      || { echo "full-disk: the writer says '$line', found are $start to $full_end_offset"; return 1; }
  fi
  [[ $full_dropped -eq 0 || $full_policy == drop ]] \
    || { echo "full-disk: $full_dropped were dropped, nobody asked for that"; return 1; }
}

# What a log with a budget takes on disks that are in pieces, seen by another process.
full_budget() {
  local ground done=0
  for ground in pieces ext4-1k; do
    full_mount $ground 96
    FOREBAY_BUDGET_DIR=$scratch/full cargo test --quiet --all-features --test retention \
      --test store -- --nocapture process:: \
      >"$scratch/said" 2>"$scratch/complaints" || { tail -n 40 "$scratch/complaints"; done=1; }
    sed "s/^.*\(Mapped\|Positioned\)/$ground: \1/;/samples$/!d" "$scratch/said"
    full_unmount
  done
  return $done
}

full_disk() { # [RUNS]
  local runs=${1:-40} n bad=0
  local grounds=(ext4-4k ext4-1k pieces tmpfs) kinds=(plain thread plain torn plain) modes=(mapped positioned) policies=(reject drop block)
  local flushes=(manual append bytes) ways=(on killed late)
  full_may_mount || return 0
  cargo build --quiet --release --example fill
  full_program=${CARGO_TARGET_DIR:-target}/release/examples/fill
  trap 'full_unmount; rm -rf "$scratch"' EXIT
  echo "| filesystem | mode | when full | flush | way | KiB free then | appended | readable | dropped | deleted |"
  echo "|---|---|---|---|---|--:|--:|--:|--:|--:|"
  for ((n = 0; n < runs; n++)); do
    full_policy=${policies[n / 2 % 3]}
    full_run "${grounds[(n + n / 4) % 4]}" $((16 + n * 5 % 17)) "${modes[n % 2]}" "$full_policy" \
      "${flushes[(n + n / 18) % 3]}" "${ways[(n + n / 3) % 3]}" "${kinds[n % 5]}" || bad=$((bad + 1))
    full_unmount
  done
  echo "full-disk: $((runs - bad)) of $runs runs as they have to be"
  full_budget || bad=$((bad + 1))
  [[ $bad -eq 0 ]]
}
