# Schedules of threads, and orders of memory: sourced by tests/campaign/run, which has set $scratch
# and die.
#
# tests/schedules builds the crate's own sources with a checker's locks and atomics and runs whole
# logs and stores; tests/schedules/loom takes the smallest units by themselves. Both are built with
# cargo alone. The planted faults are changes of the crate's source in a copy of it, each one a
# mistake that was, or could have been, made there.

schedules_build() { # DIRECTORY of the sources
  cargo build --quiet --release --manifest-path "$1/tests/schedules/Cargo.toml"
}

schedules_build_orderings() { # DIRECTORY of the sources
  cargo build --quiet --release --manifest-path "$1/tests/schedules/loom/Cargo.toml"
}

schedules() { # SCHEDULES of each model, SEED
  local count=${1:-2000} seed=${2:-1} orderings
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/schedules"
  schedules_build .
  schedules_build_orderings .
  "$CARGO_TARGET_DIR/release/orderings" >"$scratch/orderings" || { cat "$scratch/orderings"; die "a unit failed"; }
  cat "$scratch/orderings"
  orderings=$(tail -n 1 "$scratch/orderings")
  "$CARGO_TARGET_DIR/release/schedules" all "$count" "$seed" | tee "$scratch/schedules"
  echo "schedules: $(tail -n 1 "$scratch/schedules" | sed 's/^schedules: //'); ${orderings#orderings: } of units"
}

# Plants one fault in the copy, builds what it is for, and lets that find it.
schedules_plant() { # schedules|orderings MODEL FILE SED WHAT
  local program=$1 model=$2 file=$3 change=$4 what=$5 begun=$SECONDS found
  sed -i "$change" "$scratch/copy/src/$file"
  ! cmp -s "src/$file" "$scratch/copy/src/$file" || die "nothing to plant in src/$file for: $what"
  if [[ $program == orderings ]]; then schedules_build_orderings "$scratch/copy"; else schedules_build "$scratch/copy"; fi
  if [[ $program == orderings ]]; then
    "$CARGO_TARGET_DIR/release/orderings" "$model" >"$scratch/out" 2>/dev/null && die "$model does not find: $what"
  else
    "$CARGO_TARGET_DIR/release/schedules" "$model" 20000 >"$scratch/out" 2>/dev/null && die "$model does not find: $what"
  fi
  # An execution that panics once more while it is torn down ends the program before it says so.
  found=$(grep "^$model: .*FAILED" "$scratch/out" | sed 's/: FAILED.*//' || true)
  echo "planted: $what: found by ${found:-$model, the program aborted}, $((SECONDS - begun)) s with the build"
  cp "src/$file" "$scratch/copy/src/$file"
  planted=$((planted + 1))
}

schedules_planted() {
  local planted=0
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/schedules-planted"
  mkdir -p "$scratch/copy/tests"
  cp -r src README.md "$scratch/copy"
  cp -r tests/schedules "$scratch/copy/tests"
  schedules_plant orderings published sys/published.rs 's/store(end, Ordering::Release)/store(end, Ordering::Relaxed)/' \
    "the end is published without the bytes"
  schedules_plant orderings published sys/published.rs 's/load(Ordering::Acquire)/load(Ordering::Relaxed)/' \
    "the end is looked at without the bytes"
  schedules_plant orderings generation sys/event.rs '/drop(self.sleepers.lock.lock());/d' \
    "an announcement between a waiter's last look and its sleep"
  schedules_plant orderings generation sys/event.rs 's/self.generation.fetch_add(1, Ordering::SeqCst)/self.generation.fetch_add(1, Ordering::AcqRel)/; s/self.waiting.load(Ordering::SeqCst) > 0/self.waiting.load(Ordering::Acquire) > 0/' \
    "an announcement ordered against its own look at the waiters by nothing"
  schedules_plant orderings lead log/group.rs '/self.running.store(false, Ordering::SeqCst);/d; s/^        self.ended.announce();$/&\n        self.running.store(false, Ordering::SeqCst);/' \
    "who leads wakes the others before it has given way"
  schedules_plant schedules publish log/write.rs '/self.end.store(next.get(), Ordering::Release);/d; s/^        let pace = Pace {$/        self.end.store(next.get(), Ordering::Release);\n&/' \
    "the log end moves before the record is written"
  schedules_plant schedules group log/flush.rs 's/^        self.end_flush(&covered)$/        self.end_flush(\&self.begin_flush()?)/' \
    "a sync acknowledges what was written while it ran"
  schedules_plant schedules waiters log/wait.rs '/let enrolled = self.appended.enroll();/d; s/^            drop(writer);$/&\n            let enrolled = self.appended.enroll();/' \
    "a waiter enrolls behind its look"
  schedules_plant schedules delete log/delete.rs '/self.durable.fetch_max(start.get(), Ordering::AcqRel);/d; s/^        self.log_start.store(start.get(), Ordering::Release);$/&\n        self.durable.fetch_max(start.get(), Ordering::AcqRel);/' \
    "the log start is shown before the durable offset that covers it"
  schedules_plant schedules full disk/space.rs '/pub(crate) fn give(/,/^    }/s/self.freed.announce();/self.freed.announce_if_awaited();/' \
    "who gives room back looks for waiters that have not counted themselves yet"
  schedules_plant schedules poison log/flush.rs 's/self.sync_covered(&covered).inspect_err(|error| self.poison(error))?;/self.sync_covered(\&covered)?;/' \
    "a failed sync is tried again"
  schedules_plant schedules poison log/flush.rs '/self.appended.announce_if_awaited();/d' \
    "a failed sync wakes no one who waits for a record"
  schedules_plant schedules close log/mod.rs '/Again: a close may just have ended/,/check_open/d' \
    "a commit behind the close"
  schedules_plant schedules background log/background.rs '/pub(crate) fn stop/,/^    }/{/self.wake.announce();/d}' \
    "a thread that is told to end is not woken"
  schedules_plant schedules store store/table.rs 's/Arc::strong_count(log) == 1/Arc::strong_count(log) >= 1/' \
    "a log that somebody uses gives way to another"
  schedules_plant schedules store-close store/places.rs '/With the slot locked: a close that begins now/,/check_open/d' \
    "a log is opened behind the close of its store"
  echo "schedules-planted: $planted faults planted in the crate's source, $planted found"
}
