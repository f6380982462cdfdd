# A log shipped to a real Kafka while brokers, link and device fail, and how fast it ships: sourced
# by tests/campaign/run, which has set $scratch and die.
#
# Whether every record arrived, once and in order, is said by Kafka's own console consumer and the
# program `count`, which knows nothing of the log.

# Sets $records, $broker_kills, $cuts, $device_kills; `small` is what the gate runs.
uplink_size() { # [small]
  records=200000 broker_kills=10 cuts=50 device_kills=50
  if [[ ${1:-} == small ]]; then records=20000 broker_kills=2 cuts=5 device_kills=5; fi
}

# The programs, and a broker of this version, or a cluster, with these settings.
uplink_begin() { # VERSION [cluster] [KEY=VALUE...]
  kafka_fetch "$1"
  rig_build link device uplink count
  uplink_planted
  links= nodes=
  local node all=(1)
  if [[ ${2:-} == cluster ]]; then
    all=(1 2 3)
    kafka_cluster "${@:3}"
  else
    kafka_start "${@:3}"
  fi
  for node in "${all[@]}"; do
    links+=${links:+,}127.0.0.1:$(kafka_port "$node" 3)=127.0.0.1:$(kafka_port "$node" 2)
  done
  nodes=$(printf '%s\n' "$scratch"/broker* | paste -sd,)
}

# What the counting has to notice.
uplink_planted() {
  local all=$scratch/all what
  local -A plants=(["a record that is lost"]=500d ["a record that is doubled"]=500p
    ["records out of order"]='500{h;d};501G' ["a record that is altered"]='500s/.$/./'
    ["the last record lost"]='$d')
  "$rig/count" 1000 --print >"$all"
  "$rig/count" 1000 <"$all" >/dev/null || die "the counting finds fault with what is whole"
  for what in "${!plants[@]}"; do
    sed "${plants[$what]}" "$all" >"$all.planted"
    rig_planted "$what" uplink_counted_from "$all.planted"
  done
}
uplink_counted_from() { "$rig/count" 1000 <"$1"; }

# uplink_run TOPIC [ARGUMENT...]: ships $records while everything fails. What was done is in
# $scratch/done.
uplink_run() {
  "$rig/uplink" "$ram/device-$1" --nodes "$nodes" --links "$links" --topic "$1" \
    --records "$records" --broker-kills "$broker_kills" --cuts "$cuts" \
    --device-kills "$device_kills" --partition "${nodes%%,*}/data/$1-0" --long-every 256 \
    "${@:2}" >"$scratch/done" \
    || { cat "$scratch/done"; die "the device did not ship what it had"; }
}

# uplink_count TOPIC: everything that Kafka's consumer reads. What was counted is in
# $scratch/counted; fails if it is not each record, once and in order.
uplink_count() {
  local offsets
  read -r -a offsets <<<"$(kafka_offsets "$1")"
  kafka_consume "$1" earliest $((offsets[1] - offsets[0])) offset |
    "$rig/count" "$records" --long-every 256 >"$scratch/counted"
}

uplink_said() { # NAME VERSION
  echo "$1: Kafka $2: $(tail -n 1 "$scratch/done"); $(tail -n 1 "$scratch/counted")"
}

# uplink_holds NAME VERSION TOPIC [ARGUMENT...]
uplink_holds() {
  uplink_run "$3" --seed "${UPLINK_SEED:-1}" "${@:4}"
  if ! uplink_count "$3"; then
    cat "$scratch/counted"
    uplink_said "$1" "$2"
    die "not every record arrived once and in order"
  fi
  uplink_said "$1" "$2"
}

uplink() { # [small] [VERSION]
  local records broker_kills cuts device_kills links nodes
  uplink_size "${1:-}"
  if [[ ${1:-} == small ]]; then shift; fi
  uplink_begin "${1:-4.3.1}"
  # Some batches are larger, and arrive in parts.
  kafka_topic uplink --config max.message.bytes=18000
  uplink_holds uplink "${1:-4.3.1}" uplink
}

# The one that leads is killed, and comes back.
uplink_cluster() { # [VERSION]
  local records broker_kills cuts device_kills links nodes
  uplink_size
  uplink_begin "${1:-4.3.1}" cluster
  kafka_topic uplink
  kafka_leader_program uplink
  uplink_holds uplink-cluster "${1:-4.3.1}" uplink --leader "$scratch/leader"
}

# The same with the kept producer id thrown away at each start: records have to come twice, or the
# proof proves nothing. None may be lost even so.
uplink_forgetful() { # [VERSION]
  local records broker_kills cuts device_kills links nodes
  uplink_size
  uplink_begin "${1:-4.3.1}"
  kafka_topic forgetful
  uplink_run forgetful --seed "${UPLINK_SEED:-1}" --forgetful
  if uplink_count forgetful; then
    die "nothing doubled without the kept producer id: the proof would not have seen it either"
  fi
  grep -q ' 0 lost, [1-9][0-9]* doubled, ' "$scratch/counted" || {
    cat "$scratch/counted"
    die "it went wrong in another way than by doubling"
  }
  uplink_said uplink-forgetful "${1:-4.3.1}"
}

# Devices that die with their last answers lost, and rest until the broker has forgotten the id.
uplink_expired() { # [VERSION]
  local records=6000 broker_kills=0 cuts=0 device_kills=8 links nodes
  uplink_begin "${1:-4.3.1}" "" producer.id.expiration.ms=3000 \
    producer.id.expiration.check.interval.ms=1000
  kafka_topic expired
  uplink_holds uplink-expired "${1:-4.3.1}" expired --rest-ms 6000 --lag-max 500
}

# What only the leader has, for a follower stands still and is waited for, and the brokers have
# forgotten who sent it: no consumer sees it, and it must not be sent again.
uplink_unseen() { # [VERSION]
  local records=2000 links nodes leader still seconds
  uplink_begin "${1:-4.3.1}" cluster producer.id.expiration.ms=3000 \
    producer.id.expiration.check.interval.ms=1000 replica.lag.time.max.ms=900000 \
    broker.session.timeout.ms=900000
  kafka_topic unseen
  kafka_leader_program unseen
  uplink_unseen_device 500 120 || die "nothing is shipped while all stand"
  leader=$("$scratch/leader")
  still=$scratch/broker-$((leader % 3 + 1))
  kill -STOP "$(cat "$still/pid")"
  # It is ended in doubt, and rests until it is forgotten.
  for seconds in 5 20; do
    if uplink_unseen_device "$records" $seconds; then die "it was not in doubt"; fi
    sleep 6
  done
  grep -m 1 '^error .*not taken what the leader has' "$scratch/done" || die "nothing was waited for"
  kill -CONT "$(cat "$still/pid")"
  uplink_unseen_device "$records" 120 || die "not shipped once all stand"
  uplink_count unseen || { cat "$scratch/counted"; die "not every record arrived once"; }
  uplink_said uplink-unseen "${1:-4.3.1}"
}
uplink_unseen_device() { # RECORDS SECONDS: ended by SIGKILL then
  timeout -s KILL "$2" "$rig/device" "$ram/unseen" --to "$kafka_address" --topic unseen \
    --records "$1" --long-every 256 >"$scratch/done"
}

# Devices whose clocks are wrong, or whose records are old: nothing is shipped that would be deleted
# or refused, it is said which setting to change, and once that is done all arrives, untouched.
# Then a broker that forgets, for what it holds is old, who it has it from.
uplink_traps() { # [VERSION]
  local records=2000 broker_kills=0 cuts=0 device_kills=8 day=86400 links nodes
  uplink_begin "${1:-4.3.1}" "" producer.id.expiration.ms=3000 \
    producer.id.expiration.check.interval.ms=1000
  uplink_trap "2 days old" $((-2 * day)) 'days old and the topic.s retention.ms' \
    retention.ms=$((day * 1000)) message.timestamp.type=LogAppendTime
  uplink_trap "of a clock at 1970" "-$(date +%s)" 'clock that was not set' \
    retention.ms=$((day * 1000)) message.timestamp.type=LogAppendTime
  uplink_trap "2 hours ahead" 7200 'INVALID_TIMESTAMP' \
    message.timestamp.after.max.ms=3600000 message.timestamp.after.max.ms=86400000
  records=6000
  kafka_topic forgotten
  uplink_holds "uplink-traps: 2 days old, kept for ever" "${1:-4.3.1}" forgotten --rest-ms 6000 \
    --lag-max 500 --clock-s $((-2 * day))
}

uplink_trap() { # NAME SECONDS WORDS SETTING MENDED
  local topic=${1// /-} waited device
  kafka_topic "$topic"
  kafka_alter "$topic" "$4"
  timeout 300 "$rig/device" "$ram/$topic" --to "$kafka_address" --topic "$topic" \
    --records "$records" --lag-max "$records" --clock-s "$2" >"$scratch/trap" &
  device=$!
  for ((waited = 0; waited < 300; waited++)); do
    if grep -q "^error .*$3" "$scratch/trap"; then break; fi
    sleep 0.1
  done
  grep -m 1 "^error .*$3" "$scratch/trap" || { tail -n 3 "$scratch/trap"; die "$1: not told of"; }
  # It stays so however often it is tried.
  sleep 3
  [[ $(kafka_offsets "$topic") == "0 0 " ]] || die "$1: records were shipped all the same"
  kafka_alter "$topic" "$5"
  wait $device || { tail -n 3 "$scratch/trap"; die "$1: not shipped though it was mended"; }
  uplink_count "$topic" || { cat "$scratch/counted"; die "$1: not every record arrived"; }
  echo "uplink-traps: Kafka $kafka_version: $1, then $5: $(tail -n 1 "$scratch/counted")"
}

# A broker that has less than it acknowledged: its data of an earlier day are put back.
uplink_lost() { # [VERSION]
  local records broker_kills cuts device_kills links nodes data=$scratch/broker/data
  uplink_begin "${1:-4.3.1}"
  kafka_topic lost
  uplink_ships 5000
  kafka_stop
  cp -r "$data" "$data.before"
  kafka_start
  uplink_ships 10000
  kafka_stop KILL
  rm -r "$data"
  mv "$data.before" "$data"
  kafka_start
  uplink_ships 12000
  records=12000
  if ! uplink_count lost; then
    cat "$scratch/counted"
    die "what the broker lost did not come again, once and in order"
  fi
  echo "uplink-lost: Kafka ${1:-4.3.1}: 12000 records, of which the broker lost 5000 to 9999 and" \
    "was given them again; $(tail -n 1 "$scratch/counted")"
}

uplink_ships() { # RECORDS
  timeout 120 "$rig/device" "$ram/lost" --to "$kafka_address" --topic lost --records "$1" \
    --long-every 256 >"$scratch/shipped" || { tail -n 3 "$scratch/shipped"; die "not shipped"; }
}

# The broker's own maximum against a backlog that is shipped, three rounds in turn on a new topic
# each time, and the medians. As it is appended: one record a batch; and in batches of 256 KiB.
uplink_speed() { # [VERSION] [MEGABYTES]
  local version=${1:-4.3.1} megabytes=${2:-200} links nodes
  local bytes records batch round topic most ours java=() one=() many=()
  kafka_fetch "$version"
  rig_build speed
  kafka_start
  for bytes in 100 1024; do
    records=$((megabytes * 1048576 / bytes))
    batch=$((250000 / (bytes + 10)))
    "$rig/speed" fill "$ram/one" --records "$records" --bytes "$bytes"
    "$rig/speed" fill "$ram/many" --records "$records" --bytes "$bytes" --batch "$batch"
    java=() one=() many=()
    for round in 1 2 3; do
      topic=speed-$bytes-$round
      kafka_topic "$topic-java"
      most=$(kafka_tool org.apache.kafka.tools.ProducerPerformance --topic "$topic-java" \
        --num-records "$records" --record-size "$bytes" --throughput -1 --producer-props \
        "bootstrap.servers=$kafka_address" acks=all batch.size=262144 linger.ms=20 | tail -n 1)
      java+=("$(sed 's/.*(\([0-9.]*\) MB.sec).*/\1/' <<<"$most")")
      echo "uplink-speed: $bytes bytes, Kafka's producer: $most"
      for ours in one many; do
        kafka_topic "$topic-$ours"
        rm -rf "$ram/shipped"
        cp -r "$ram/$ours" "$ram/shipped"
        most=$("$rig/speed" ship "$ram/shipped" --to "$kafka_address" --topic "$topic-$ours")
        echo "uplink-speed: $bytes bytes, stored $ours: $most"
        most=$(sed 's/.* s: \([0-9.]*\) MB.s,.*/\1/' <<<"$most")
        if [[ $ours == one ]]; then one+=("$most"); else many+=("$most"); fi
      done
    done
    rm -rf "$ram/one" "$ram/many"
    uplink_ratio "$bytes" "$(median "${java[@]}")" "$(median "${one[@]}")" \
      "$(median "${many[@]}")"
  done
}

# A backlog of a gigabyte is caught up with in bounded memory: 8 MB over what an open log has.
uplink_backlog() { # [VERSION] [MEGABYTES]
  local megabytes=${2:-1024} batch said over
  kafka_fetch "${1:-4.3.1}"
  rig_build speed
  kafka_start
  for batch in 1 200; do
    "$rig/speed" fill "$ram/$batch" --records $((megabytes * 1024)) --bytes 1024 --batch $batch
    kafka_topic backlog-$batch
    said=$("$rig/speed" ship "$ram/$batch" --to "$kafka_address" --topic backlog-$batch)
    echo "uplink-backlog: Kafka $kafka_version: batches of $batch KiB: $said"
    over=$(sed 's/.* \([0-9]*\) KiB over idle.*/\1/' <<<"$said")
    ((over <= 8192)) || die "$over KiB over idle: 8192 are allowed"
    rm -rf "${ram:?}/$batch"
  done
}

median() { printf '%s\n' "$@" | sort -g | sed -n "$((($# + 1) / 2))p"; }

uplink_ratio() { # BYTES JAVA ONE MANY
  awk -v version="$kafka_version" -v bytes="$1" -v java="$2" -v one="$3" -v many="$4" 'BEGIN {
    printf "uplink-speed: Kafka %s, %d bytes: its producer %.1f MB/s, ", version, bytes, java
    printf "single records %.1f (%.2f of it), ", one, one / java
    printf "batches of 256 KiB %.1f (%.2f of it)\n", many, many / java }'
}
