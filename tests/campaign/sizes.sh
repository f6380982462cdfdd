# shellcheck shell=bash
# How large a program gets by what it uses of the crate: sourced by tests/campaign/run, which has set
# $scratch and die.

# Each opens a log, appends and reads; then ships to another log; to a Kafka; to one with TLS.
sizes() {
  local root=$PWD name bytes empty='' log=''
  local -A uses=([empty]='' [log]='' [log-upstream]='"replicator"' [kafka]='"kafka"'
    [kafka-tls]='"kafka"')
  for name in empty log log-upstream kafka kafka-tls; do
    mkdir -p "$scratch/$name/src"
    cat >"$scratch/$name/Cargo.toml" <<TOML
[package]
name = "$name"
version = "0.0.0"
edition = "2024"
[workspace]
[dependencies]
forebay = { path = "$root", features = [${uses[$name]}] }
[profile.release]
opt-level = "z"
lto = true
codegen-units = 1
panic = "abort"
strip = true
TOML
    sizes_program "$name" >"$scratch/$name/src/main.rs"
    cp Cargo.lock "$scratch/$name/Cargo.lock"
    (cd "$scratch/$name" && CARGO_TARGET_DIR=$scratch/sizes cargo build --quiet --release)
    bytes=$(stat -c %s "$scratch/sizes/release/$name")
    empty=${empty:-$bytes}
    if [[ $name == log ]]; then log=$bytes; fi
    echo "sizes: $name: $bytes bytes, $((bytes - empty)) over an empty program"
  done
  ((bytes - log <= 1400000)) || die "shipping by TLS costs more than 1.4 MB over the log alone"
}

sizes_program() { # NAME
  local log='let log = forebay::Log::open(std::env::args().nth(1).unwrap())?;
    log.append("21.5 C")?;
    log.flush()?;
    for batch in log.reader(forebay::OffsetSpec::Earliest)? {
        std::hint::black_box(batch?);
    }'
  local end='let uplink = forebay::Replicator::start(&log, "uplink", upstream,
        forebay::ReplicatorOptions::new())?;
    uplink.wait_until(log.log_end_offset(), std::time::Duration::from_secs(9))?;'
  local kafka='let upstream = forebay::KafkaUpstream::new("broker:9092", "t");'
  local tls='let upstream = upstream.tls(forebay::Tls::new());'
  local body
  case $1 in
    empty) echo 'fn main() {}' && return ;;
    log) body=$log ;;
    log-upstream) body="$log let upstream = forebay::LogUpstream::new(\"up\"); $end" ;;
    kafka) body="$log $kafka $end" ;;
    kafka-tls) body="$log $kafka $tls $end" ;;
  esac
  echo "fn main() -> forebay::Result<()> { $body Ok(()) }"
}

# The same in C, with the profile of the release archives: what a program gets larger by that is
# linked with the static library and stripped, and how large the shared one is. Rust's standard
# library with its panics is in an empty library, too, which both are measured against.
sizes_c() {
  local out=${CARGO_TARGET_DIR:-$PWD/target}/sizes-c name log program shared empty_program empty_shared
  local -A features=([empty]='' [log]=ffi [replicator]=ffi,replicator [kafka]=ffi,kafka,toml)
  sizes_c_sources
  for name in empty log replicator kafka; do
    sizes_c_library "$name" "${features[$name]}" "$out"
    program=$(sizes_c_program "$name")
    shared=$(stat -c %s "$scratch/$name.so")
    empty_program=${empty_program:-$program} empty_shared=${empty_shared:-$shared}
    echo "sizes-c: $name: program $program bytes, $((program - empty_program)) over an empty one;" \
      "shared library $shared, $((shared - empty_shared)) over an empty one"
    if [[ $name == log ]]; then log=$program; fi
  done
  ((log - empty_program <= 480000)) || die "the log in C is larger than docs::c has it"
  ((program - empty_program <= 2000000)) || die "Kafka in C is larger than docs::c has it"
}

# Stripped as a distribution does it: $scratch/NAME.so, and NAME.a as it is.
sizes_c_library() { # NAME FEATURES OUT
  local from=$3/capi
  if [[ $1 == empty ]]; then
    from=$3/empty/capi
    CARGO_TARGET_DIR=$3/empty cargo build --quiet --profile capi \
      --manifest-path "$scratch/empty-c/Cargo.toml"
    cp "$from/libempty_c.a" "$scratch/empty.a"
    cp "$from/libempty_c.so" "$scratch/empty.so"
  else
    CARGO_TARGET_DIR=$3 cargo rustc --quiet --lib --profile capi --no-default-features \
      --features "$2" --crate-type staticlib,cdylib
    cp "$from/libforebay.a" "$scratch/$1.a"
    cp "$from/libforebay.so" "$scratch/$1.so"
  fi
  strip "$scratch/$1.so"
}

sizes_c_program() { # NAME
  local native='-lgcc_s -lutil -lrt -lpthread -lm -ldl -lc' source=$scratch/log.c
  if [[ $1 == empty ]]; then source=$scratch/empty.c; fi
  # shellcheck disable=SC2086
  cc -Os -s -Wl,--gc-sections -Wl,--as-needed -I include "-Dwith_$1" "$source" "$scratch/$1.a" $native \
    -o "$scratch/$1.program" >&2
  stat -c %s "$scratch/$1.program"
}

sizes_c_sources() {
  mkdir -p "$scratch/empty-c/src"
  { printf '[package]\nname = "empty-c"\nversion = "0.0.0"\nedition = "2024"\n[workspace]\n'
    printf '[lib]\ncrate-type = ["staticlib", "cdylib"]\n'
    sed -n '/^\[profile.release\]/,/^$/p; /^\[profile.capi\]/,/^$/p' Cargo.toml
  } >"$scratch/empty-c/Cargo.toml"
  cat >"$scratch/empty-c/src/lib.rs" <<'RUST'
#[unsafe(no_mangle)]
pub extern "C" fn empty_call(number: i32) -> i32 {
    std::panic::catch_unwind(|| 100 / number).unwrap_or(-1)
}
RUST
  cat >"$scratch/empty.c" <<'C'
#include <stdio.h>
int empty_call(int);
int main(int argc, char **argv) {
  (void)argv;
  printf("%d\n", empty_call(argc));
  return 0;
}
C
  cat >"$scratch/log.c" <<'C'
#include <stdio.h>
#include <forebay.h>
static int ship(const forebay_log *log, const char *name) {
#if defined(with_replicator) || defined(with_kafka)
  forebay_upstream *upstream = NULL;
  forebay_replicator *running = NULL;
  bool reached;
#ifdef with_kafka
  if (forebay_upstream_kafka_new(forebay_str(name), forebay_str("t"), &upstream) != FOREBAY_OK ||
      forebay_upstream_set(upstream, forebay_str("security.protocol"), forebay_str("SSL")) !=
          FOREBAY_OK) {
    return 1;
  }
#else
  if (forebay_upstream_log_new(forebay_str(name), NULL, &upstream) != FOREBAY_OK) {
    return 1;
  }
#endif
  if (forebay_replicator_start(log, forebay_str("up"), upstream, NULL, &running) != FOREBAY_OK ||
      forebay_replicator_wait(running, forebay_log_end_offset(log), 9000, &reached) != FOREBAY_OK) {
    return 1;
  }
  return forebay_replicator_stop(running) == FOREBAY_OK ? 0 : 1;
#else
  (void)log;
  (void)name;
  return 0;
#endif
}
int main(int argc, char **argv) {
  forebay_log *log = NULL;
  forebay_reader *reader = NULL;
  forebay_batch *batch = NULL;
  if (argc < 3 || forebay_log_open(forebay_str(argv[1]), NULL, &log) != FOREBAY_OK ||
      forebay_log_append(log, forebay_str("21.5 C"), NULL) != FOREBAY_OK ||
      forebay_log_flush(log, NULL) != FOREBAY_OK || ship(log, argv[2]) != 0 ||
      forebay_log_reader(log, FOREBAY_FROM_EARLIEST, 0, &reader) != FOREBAY_OK) {
    puts(forebay_last_error());
    return 1;
  }
  while (forebay_reader_next(reader, &batch) == FOREBAY_OK && batch != NULL) {
    printf("%d\n", (int)forebay_batch_count(batch));
    forebay_batch_free(batch);
  }
  forebay_reader_free(reader);
  return forebay_log_close(log) == FOREBAY_OK ? 0 : 1;
}
C
}
