# Writes that the device refuses, for real: sourced by tests/campaign/run, which has set $scratch and
# die.
#
# An ext4 lies on an image in a tmpfs that is full otherwise. A hole is punched where the blocks of a
# file, or of the journal, are: whatever is written there from now on fails. A test of the crate asks
# for that, and for room again, by a file beside it, and judges what forebay says.

write_errors_mount() {
  mkdir -p "$scratch/ram" "$scratch/thin" "$scratch/ask"
  mount -t tmpfs -o size=80m ram "$scratch/ram"
  truncate -s 64M "$scratch/ram/image"
  mkfs.ext4 -q -b 4096 -m 0 "$scratch/ram/image"
  # Every block of the image is there, the journal's too.
  fallocate -l 64M "$scratch/ram/image"
  mount -o loop,nodiscard "$scratch/ram/image" "$scratch/thin"
}

write_errors_unmount() {
  ! mountpoint -q "$scratch/after" || umount "$scratch/after"
  ! mountpoint -q "$scratch/thin" || umount "$scratch/thin"
  ! mountpoint -q "$scratch/ram" || umount "$scratch/ram"
}

# Makes every block of a file one that cannot be written.
write_errors_spoil() { # PATH, from the filesystem's root, or <8> for the journal
  local block
  # What is left of the last error is no news.
  sync -f "$scratch/thin" 2>/dev/null || true
  for block in $(debugfs -R "blocks $1" "$scratch/ram/image" 2>/dev/null); do
    fallocate -p -o $((block * 4096)) -l 4096 "$scratch/ram/image"
  done
  dd if=/dev/zero of="$scratch/ram/ballast" bs=4096 status=none 2>/dev/null || true
}

# What a power cut would leave now, as a filesystem of its own.
write_errors_cut() {
  cp "$scratch/ram/image" "$scratch/cut"
  mkdir -p "$scratch/after"
  mount -o loop "$scratch/cut" "$scratch/after"
}

# Does what the test asks for until it ends.
write_errors_serve() { # PID
  local what path
  while kill -0 "$1" 2>/dev/null; do
    if [[ -e $scratch/ask/asked ]]; then
      read -r what path <"$scratch/ask/asked"
      rm "$scratch/ask/asked"
      case $what in
        spoil) write_errors_spoil "$path" ;;
        heal) rm -f "$scratch/ram/ballast" ;;
        cut) write_errors_cut ;;
        uncut) umount "$scratch/after" ;;
      esac
      touch "$scratch/ask/done"
    fi
    sleep 0.05
  done
  wait "$1"
}

# One test on a filesystem of its own.
write_errors_run() { # WHERE (--lib or --test NAME) and the test's name
  write_errors_mount
  FOREBAY_TEST_THIN=$scratch/thin FOREBAY_TEST_ASK=$scratch/ask FOREBAY_TEST_CUT=$scratch/after \
    cargo test --quiet --all-features "${@:1:$#-1}" -- --exact "${*: -1}" --nocapture &
  write_errors_serve $! || { write_errors_unmount; die "${*: -1} failed"; }
  write_errors_unmount
}

write_errors() {
  [[ $(id -u) -eq 0 ]] || { echo "write-errors: mounting needs root: nothing was done"; return 0; }
  command -v debugfs >/dev/null || die "no debugfs (Debian: e2fsprogs)"
  trap 'write_errors_unmount; rm -rf "$scratch"' EXIT
  write_errors_run --lib sys::tests::what_a_device_refuses_is_told
  write_errors_run --lib sys::tests::an_aborted_journal_is_told
  write_errors_run --test log write_errors::what_a_device_refuses_is_never_called_durable
  echo "write-errors: every refused write was told, once, and nothing lost was called durable"
}

# What ext4 makes of a page that is written once more after its first write-back failed: in blocks
# that were allocated ahead and never written, or that were. Everything a process can see says that
# it is there; a copy of the device says whether a power cut leaves it.
ext4_rewrite() {
  [[ $(id -u) -eq 0 ]] || { echo "ext4-rewrite: mounting needs root: nothing was done"; return 0; }
  command -v debugfs >/dev/null || die "no debugfs (Debian: e2fsprogs)"
  trap 'write_errors_unmount; rm -rf "$scratch"' EXIT
  local how file=$scratch/thin/segment first again after
  for how in ahead written; do
    write_errors_mount
    case $how in
      ahead) fallocate -l 64K "$file" ;;
      written) head -c 64K /dev/zero >"$file" ;;
    esac
    sync -f "$scratch/thin"
    head -c 4096 /dev/zero | tr '\0' A >"$scratch/page"
    write_errors_spoil /segment
    first=Ok again=Ok after=there
    dd if="$scratch/page" of="$file" conv=notrunc,fdatasync status=none 2>/dev/null || first=error
    rm -f "$scratch/ram/ballast"
    dd if="$scratch/page" of="$file" conv=notrunc,fdatasync status=none 2>/dev/null || again=error
    cmp -s -n 4096 "$scratch/page" "$file" || die "ext4-rewrite: the cache does not have the page"
    write_errors_cut
    cmp -s -n 4096 "$scratch/page" "$scratch/after/segment" || after=gone
    write_errors_unmount
    echo "ext4-rewrite: blocks $how: first sync $first, second sync $again, after a power cut $after"
  done
}
