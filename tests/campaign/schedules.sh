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

# One change in the copy of the source.
schedules_plant() { # FILE SED
  sed -i "$2" "$scratch/copy/src/$1"
  ! cmp -s "src/$1" "$scratch/copy/src/$1" || die "nothing to plant by $2 in src/$1"
}

# Lets a model find a fault that is planted.
schedules_find() { # MODEL WHAT PROGRAM...
  local model=$1 what=$2 found
  shift 2
  ! "$@" >"$scratch/out" 2>/dev/null || die "$model does not find: $what"
  # An execution that panics once more while it is torn down ends the program before it says so.
  found=$(grep "^$model: .*FAILED" "$scratch/out" | sed 's/: FAILED.*//' || true)
  echo "planted: $what: found by ${found:-$model, which was aborted}"
  planted=$((planted + 1))
}

# A fault in a unit, which is built anew with it.
schedules_plant_unit() { # MODEL FILE SED WHAT
  schedules_plant "$2" "$3"
  schedules_build_orderings "$scratch/copy"
  schedules_find "$1" "$4" "$CARGO_TARGET_DIR/release/orderings" "$1" 2>/dev/null
  cp "src/$2" "$scratch/copy/src/$2"
}

schedules_find_planted() { # NAME MODEL WHAT
  FOREBAY_PLANTED=$1 schedules_find "$2" "$3" "$CARGO_TARGET_DIR/release/schedules" "$2" 20000
}

schedules_planted() {
  local planted=0 if='if crate::sys::sync::planted' seq='Ordering::SeqCst'
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$PWD/target}/schedules-planted"
  mkdir -p "$scratch/copy/tests"
  cp -r src README.md "$scratch/copy"
  cp -r tests/schedules "$scratch/copy/tests"
  # The units.
  schedules_plant_unit published sys/published.rs 's/store(end, Ordering::Release)/store(end, Ordering::Relaxed)/' \
    "the end is published without the bytes"
  schedules_plant_unit published sys/published.rs 's/load(Ordering::Acquire)/load(Ordering::Relaxed)/' \
    "the end is looked at without the bytes"
  schedules_plant_unit generation sys/event.rs '/drop(self.sleepers.lock.lock());/d' \
    "an announcement between a waiter's last look and its sleep"
  schedules_plant_unit generation sys/event.rs \
    "s/generation.fetch_add(1, $seq)/generation.fetch_add(1, Ordering::AcqRel)/; s/waiting.load($seq) > 0/waiting.load(Ordering::Acquire) > 0/" \
    "an announcement that nothing orders against its look at the waiters"
  schedules_plant_unit lead log/group.rs \
    "/self.running.store(false, $seq);/d; s/^        self.ended.announce();\$/&\n        self.running.store(false, $seq);/" \
    "who leads wakes the others before it has given way"
  # The crate: one copy with all faults, each behind its name in the environment.
  cat >>"$scratch/copy/src/sys/sync.rs" <<'EOF'

pub(crate) fn planted(name: &str) -> bool {
    std::env::var("FOREBAY_PLANTED").is_ok_and(|planted| planted == name)
}
EOF
  schedules_plant log/write.rs "s/^        let pace = Pace {\$/        $if(\"publish\") { self.end.store(next.get(), Ordering::Release); }\n&/"
  schedules_plant log/wait.rs "s/let enrolled = self.appended.enroll();/let enrolled = (!crate::sys::sync::planted(\"waiters\")).then(|| self.appended.enroll());/; s/^            drop(writer);\$/&\n            let enrolled = enrolled.unwrap_or_else(|| self.appended.enroll());/"
  schedules_plant disk/space.rs "/pub(crate) fn give(/,/^    }/s/self.freed.announce();/$if(\"full\") { self.freed.announce_if_awaited() } else { self.freed.announce() };/"
  schedules_plant log/flush.rs "s/^        self.end_flush(&covered)\$/        let covered = $if(\"group\") { self.begin_flush()? } else { covered };\n&/; s/self.sync_covered(&covered).inspect_err(|error| self.poison(error))?;/self.sync_covered(\&covered).inspect_err(|error| $if(\"retry\") {} else { self.poison(error) })?;/; s/self.appended.announce_if_awaited();/$if(\"wake\") {} else { self.appended.announce_if_awaited() }/"
  schedules_plant log/mod.rs "/Again: a close may just have ended/,/check_open/s/self.check_open()?;/$if(\"commit\") {} else { self.check_open()? }/"
  schedules_plant log/background.rs "/pub(crate) fn stop/,/^    }/s/self.wake.announce();/$if(\"background\") {} else { self.wake.announce() }/"
  schedules_plant log/linger/lane.rs "s/return next.iter().for_each(|slot| slot.wake());/return next.iter().for_each(|slot| $if(\"linger-way\") {} else { slot.wake() });/; s/let _lead = Lead(self);/let _lead = Lead(self); $if(\"linger-order\") { self.stage.lock().leader = None }/"
  schedules_plant store/table.rs 's/Arc::strong_count(log) == 1/Arc::strong_count(log) == 1 || crate::sys::sync::planted("store")/'
  schedules_plant store/places.rs "/With the slot locked: a close that begins now/,/check_open/s/self.check_open()?;/$if(\"store-close\") {} else { self.check_open()? }/"
  schedules_plant log/read.rs 's/if error.kind() != ErrorKind::Corrupt || from/if crate::sys::sync::planted("delete") || error.kind() != ErrorKind::Corrupt || from/'
  schedules_build "$scratch/copy"
  schedules_find_planted publish publish "the log end moves before the record is written"
  schedules_find_planted group group "a sync acknowledges what was written while it ran"
  schedules_find_planted waiters waiters "a waiter enrolls behind its look"
  schedules_find_planted full full "who gives room back looks for waiters that have not counted themselves yet"
  schedules_find_planted retry poison "a failed sync is tried again"
  schedules_find_planted wake poison "a failed sync wakes no one who waits for a record"
  schedules_find_planted commit close "a commit behind the close"
  schedules_find_planted background background "a thread that is told to end is not woken"
  schedules_find_planted delete delete "what is deleted while it is read is called damaged"
  schedules_find_planted linger-way linger "who appends a batch gives way and wakes no one"
  schedules_find_planted linger-order linger "two threads append batches at once"
  schedules_find_planted store store "a log that somebody uses gives way to another"
  schedules_find_planted store-close store-close "a log is opened behind the close of its store"
  echo "schedules-planted: $planted faults planted in the crate's source, $planted found"
}
