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
