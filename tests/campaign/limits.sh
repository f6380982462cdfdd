# A process that is denied what it needs, clocks that are wrong, files that others harm: sourced by
# tests/campaign/run.

# 58 runs of the writer under limits of file size, descriptors, address space, maps and memory. In
# TMPDIR, since the page cache counts as memory.
limits() {
  rig_build
  mkdir "$scratch/runs"
  rig_planted "a store behind the end of a file" \
    env RIG_PLANT=bus "$rig/limits" "$scratch/runs"
  "$rig/limits" "$scratch/runs" | grep -v '^[A-Z][a-z]*[A-Za-z]*[ ({].*: Exited'
}

# 72 runs in which the wall clock begins between 1969 and 2200 and jumps.
clocks() {
  rig_build
  rig_shim clock
  rig_planted "age measured by a clock that jumps" \
    env RIG_PLANT=boot "$rig/clocks" "$scratch/clock.so" "$ram"
  "$rig/clocks" "$scratch/clock.so" "$ram"
}

# 25 harms in two modes; what each call said is printed, line by line.
hazards() {
  rig_build
  mkdir "$scratch/runs"
  chmod 755 "$scratch"
  rig_planted "a signal where none is allowed" \
    env RIG_PLANT=bus "$rig/hazards" "$scratch/runs"
  "$rig/hazards" "$scratch/runs"
}
