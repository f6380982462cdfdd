# Every file system call fails in turn: sourced by tests/campaign/run.
#
# Ten scenarios (append, append-each, retention, recovery, recovery-full, commit, close, store,
# store-delete, store-recovery), mapped and by position. By the shim, every call fails with up to
# ten errors, comes short, works and says otherwise, or is the last; ten kinds of error last from
# there on. By strace, the same from within the kernel, so that no call escapes: that both see the
# same calls is checked first. Nothing is cut here: a writer that is deaf to a failed sync is one for
# crashfs, since the next open writes again what was refused. A scenario alone is swept by the shim alone, unless strace is asked
# for.

sweep() { # [SCENARIO|all] [preload|strace|both]
  local chosen=${1:-all} engine=${2:-}
  [[ -n $engine ]] || { [[ $chosen == all ]] && engine=both || engine=preload; }
  [[ $engine == preload ]] || command -v strace >/dev/null || die "no strace (Debian: strace)"
  rig_build
  rig_shim iofault
  local shim=$scratch/iofault.so
  rig_planted "a writer that tells of records before it appends them" env RIG_PLANT=early \
    "$rig/sweep" "$shim" "$ram" preload append/positioned write:16:kill
  [[ $engine == preload ]] || rig_planted "the same, by strace" env RIG_PLANT=early \
    "$rig/sweep" "$shim" "$ram" strace append/positioned pwrite64:16:kill
  ! command -v strace >/dev/null || "$rig/sweep" "$shim" "$ram" compare "$chosen"
  [[ $engine == strace ]] || "$rig/sweep" "$shim" "$ram" preload "$chosen"
  [[ $engine == preload ]] || "$rig/sweep" "$shim" "$ram" strace "$chosen"
}
