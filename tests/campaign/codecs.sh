# Compressed batches on a real broker, and what other clients read of them: sourced by
# tests/campaign/run, which has set $scratch and die.

codecs() { # [VERSION] [RECORDS]
  local version=${1:-4.3.1} records=${2:-20000} checks=0 batches=0 topic client
  kafka_fetch "$version"
  python3 -m venv "$scratch/venv" && "$scratch/venv/bin/pip" -q install kafka-python confluent-kafka \
    cryptography lz4 python-snappy zstandard >"$scratch/pip" 2>&1 \
    || { cat "$scratch/pip" >&2; die "pip could not install the Python clients"; }
  cargo build --quiet --release --manifest-path tests/campaign/rig/Cargo.toml --features codecs \
    --bin codecs
  kafka_start
  "${CARGO_TARGET_DIR:-tests/campaign/rig/target}/release/codecs" "$scratch/logs" "$kafka_address" \
    "$records"
  for topic in none gzip snappy lz4 zstd on-the-way encrypted; do
    kafka_check "$scratch/logs/$topic"
    kafka_consume "$topic" earliest "$records" offset >"$scratch/java"
    [[ $(grep -c '^Offset:' "$scratch/java") -eq $records ]] || die "$topic: Java reads fewer records"
    for client in kafka-python librdkafka; do
      "$scratch/venv/bin/python" tests/campaign/consume.py "$client" "$kafka_address" "$topic" \
        "$records" >"$scratch/read" || die "$topic: $client fails"
      cmp "$scratch/logs/$topic.expected" "$scratch/read" \
        || die "$topic: $client reads other records than were appended"
    done
    echo "codecs: $topic: $records records the same by Java's count, librdkafka and kafka-python"
  done
  sed -i '77s/.$/&0/' "$scratch/logs/lz4.expected"
  if cmp -s "$scratch/logs/lz4.expected" "$scratch/read"; then die "a planted change is not seen"; fi
  echo "codecs: Kafka $version finds nothing wrong in $checks checks over $batches batches"
}
