# SIGKILL at random moments: sourced by tests/campaign/run.
#
# A process with four writers, two readers, a flusher, a consumer, retention and a replicator to a
# second log, and one that writes to a store, are killed KILLS times on directories that stay: in
# opening, recovering, rolling, deleting. After each the judge opens, without waiting for a lock.

kill_loop() { # [KILLS] [SEED]
  rig_build
  rig_planted "records told before they are appended" \
    env RIG_PLANT=early "$rig/kill" "$ram" 60 1
  "$rig/kill" "$ram" "${1:-5000}" "${2:-1}"
}
