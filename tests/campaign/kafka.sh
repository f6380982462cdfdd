# A real Kafka for the campaigns: a broker (KRaft) or three, from Maven Central, and its tools. Seen
# working with 4.3.1 and 3.9.1; a broker takes 4 to 6 s to start, and 500 MB. Sourced by `run`,
# which has a scratch directory in `scratch` and a function `die`. Needs Java 17 and Maven.

# kafka_fetch VERSION: the distribution's jars, resolved once by Maven into its own cache.
kafka_fetch() {
  command -v java >/dev/null || die "no java: install a JDK 17 (Debian: openjdk-17-jdk-headless)"
  command -v mvn >/dev/null || die "no mvn: install Maven (Debian: maven)"
  kafka_version=$1
  cat >"$scratch/pom.xml" <<POM
<project xmlns="http://maven.apache.org/POM/4.0.0"><modelVersion>4.0.0</modelVersion>
 <groupId>local</groupId><artifactId>classpath</artifactId><version>1</version><dependencies>
  <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka_2.13</artifactId>
   <version>$1</version></dependency>
  <dependency><groupId>org.apache.kafka</groupId><artifactId>kafka-tools</artifactId>
   <version>$1</version></dependency>
  <dependency><groupId>org.slf4j</groupId><artifactId>slf4j-api</artifactId>
   <version>2.0.16</version></dependency>
  <dependency><groupId>org.apache.logging.log4j</groupId>
   <artifactId>log4j-slf4j2-impl</artifactId><version>2.24.3</version></dependency>
 </dependencies></project>
POM
  cat >"$scratch/log4j2.properties" <<'PROPERTIES'
status = error
appender.f.type = File
appender.f.name = F
appender.f.fileName = ${sys:kafka.log:-/dev/null}
appender.f.layout.type = PatternLayout
appender.f.layout.pattern = %p %m (%c)%n
rootLogger.level = info
rootLogger.appenderRef.f.ref = F
PROPERTIES
  (cd "$scratch" && mvn -q -B dependency:build-classpath -DincludeScope=runtime \
    -Dmdep.outputFile=classpath >mvn.out 2>&1) \
    || { cat "$scratch/mvn.out" >&2; die "Maven could not resolve Kafka $1"; }
}

# Whether the fetched version is this one or a later one.
kafka_since() { # VERSION
  [[ $(printf '%s\n%s\n' "$kafka_version" "$1" | sort -V | head -n 1) == "$1" ]]
}

# kafka_tool CLASS ARGUMENT...
kafka_tool() {
  java -Xmx256m -XX:+UseSerialGC -Dlog4j2.configurationFile="$scratch/log4j2.properties" \
    -cp "$(cat "$scratch/classpath")" "$@"
}

# Nodes: $scratch/broker is the only one, or $scratch/broker-1, -2, -3 are a cluster. Each has
#   data               what the broker stores; it outlives the broker
#   server.properties  settings; the last line of a key counts
#   launch             becomes the broker, and writes `pid`: also for who is to start it again
#   server.log         "Kafka Server started" each time it is ready
# Ports, from KAFKA_PORT (29092) on, 10 a node: +0 for tools and other nodes, +1 the controller, +2
# a listener that tells clients to come to +3: whoever stands there is between them and the broker.
# Further ones are in kafka-secure.sh.
kafka_ports=${KAFKA_PORT:-29092}
kafka_format=() # more arguments for the formatting of a node

# kafka_port NODE [WHICH]
kafka_port() { echo $((kafka_ports + ($1 - 1) * 10 + ${2:-0})); }

# kafka_node NODE NODES [KEY=VALUE...]: the directory of a node that is not there yet.
kafka_node() {
  local node=$1 nodes=$2 dir=$scratch/broker port which voters=() replicas=$2 insync=1
  local plain link told control
  shift 2
  if ((nodes > 1)); then dir=$scratch/broker-$node insync=2; fi
  for which in 0 1 2 3 4 5 6 7; do
    port=$(kafka_port "$node" $which)
    if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then die "port $port is in use: KAFKA_PORT"; fi
  done
  for ((which = 1; which <= nodes; which++)); do
    voters+=("$which@127.0.0.1:$(kafka_port $which 1)")
  done
  plain=PLAINTEXT://127.0.0.1:$(kafka_port "$node")
  control=CONTROLLER://127.0.0.1:$(kafka_port "$node" 1)
  link=LINK://127.0.0.1:$(kafka_port "$node" 2)
  told=LINK://127.0.0.1:$(kafka_port "$node" 3)
  mkdir -p "$dir"
  cat >"$dir/server.properties" <<CONFIGURATION
process.roles=broker,controller
node.id=$node
controller.quorum.voters=$(IFS=,; echo "${voters[*]}")
listeners=$plain,$control,$link
advertised.listeners=$plain,$told
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT,LINK:PLAINTEXT
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
log.dirs=$dir/data
default.replication.factor=$replicas
min.insync.replicas=$insync
offsets.topic.replication.factor=$replicas
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
CONFIGURATION
  cat >"$dir/launch" <<LAUNCH
#!/usr/bin/env bash
echo \$\$ >"$dir/pid"
exec java -Xmx${KAFKA_HEAP:-512m} -Dkafka.log="$dir/server.log" \
  -Dlog4j2.configurationFile="$scratch/log4j2.properties" -cp "$(cat "$scratch/classpath")" \
  kafka.Kafka "$dir/server.properties" </dev/null >>"$dir/server.out" 2>&1
LAUNCH
  chmod +x "$dir/launch"
  if [[ -n $kafka_secured ]]; then kafka_secure_node "$node" "$dir"; fi
  kafka_set "$dir" "$@"
  if [[ ! -s $scratch/cluster.id ]]; then
    kafka_tool kafka.tools.StorageTool random-uuid | tail -n 1 >"$scratch/cluster.id"
  fi
  kafka_tool kafka.tools.StorageTool format -c "$dir/server.properties" \
    -t "$(cat "$scratch/cluster.id")" "${kafka_format[@]}" >"$dir/format.out" 2>&1 \
    || { cat "$dir/format.out" >&2; die "the broker's storage could not be formatted"; }
}

# kafka_set DIR [KEY=VALUE...]: settings of a node, from its next start on.
kafka_set() {
  local dir=$1 setting
  shift
  for setting in "$@"; do
    [[ $setting == ?*=* ]] || die "not KEY=VALUE: $setting"
    echo "$setting" >>"$dir/server.properties"
  done
}

# kafka_launch DIR: starts a node, and does not wait until it is ready.
kafka_launch() {
  : >"$1/server.log"
  rm -f "$1/pid"
  "$1/launch" &
  disown # nobody has to be told how it ends
}

# kafka_await DIR: until a node is ready.
kafka_await() {
  local dir=$1 waited
  for ((waited = 0; waited < 300; waited++)); do
    if grep -q 'Kafka Server started' "$dir/server.log"; then return; fi
    if ((waited > 10)) && ! kafka_runs "$dir"; then break; fi
    sleep 0.2
  done
  tail -n 20 "$dir/server.out" "$dir/server.log" >&2
  die "the broker did not start"
}

# Whether the broker of this directory runs: its number may be another's by now, or a zombie's.
kafka_runs() { # DIR
  local pid
  pid=$(cat "$1/pid" 2>/dev/null) || return 1
  grep -qa "$1/server.properties" "/proc/$pid/cmdline" 2>/dev/null
}

# kafka_start [KEY=VALUE...]: the broker at $kafka_address, its data in $scratch/broker/data. What
# is there from before stays.
kafka_start() {
  local dir=$scratch/broker
  kafka_address=127.0.0.1:$(kafka_port 1)
  if [[ -s $dir/launch ]]; then kafka_set "$dir" "$@"; else kafka_node 1 1 "$@"; fi
  kafka_launch "$dir"
  kafka_await "$dir"
}

# kafka_cluster [KEY=VALUE...]: three nodes; each record is on all, and acknowledged by two.
kafka_cluster() {
  local node
  kafka_address=
  for node in 1 2 3; do
    kafka_address+=${kafka_address:+,}127.0.0.1:$(kafka_port $node)
    kafka_node $node 3 "$@"
  done
  for node in 1 2 3; do kafka_launch "$scratch/broker-$node"; done
  for node in 1 2 3; do kafka_await "$scratch/broker-$node"; done
}

# kafka_stop [SIGNAL] [DIR...]: asks the brokers to end (TERM), all of them unless some are named,
# and waits until they have. The last ones of a cluster wait for a quorum that is gone: they are
# killed after 30 s.
kafka_stop() {
  local signal=${1:-TERM} dir dirs=("${@:2}") waited
  ((${#dirs[@]} > 0)) || dirs=("$scratch"/broker*)
  for dir in "${dirs[@]}"; do
    if kafka_runs "$dir"; then kill "-$signal" "$(cat "$dir/pid")" 2>/dev/null || true; fi
  done
  for dir in "${dirs[@]}"; do
    for ((waited = 0; waited < 300; waited++)); do
      if ! kafka_runs "$dir"; then break; fi
      sleep 0.1
    done
    if kafka_runs "$dir"; then kill -KILL "$(cat "$dir/pid")" 2>/dev/null || true; fi
    rm -f "$dir/pid"
  done
}

# kafka_restart [SIGNAL] [DIR]: ends a node (KILL) and starts it again on the same data.
kafka_restart() {
  local dir=${2:-$scratch/broker}
  kafka_stop "${1:-KILL}" "$dir"
  kafka_launch "$dir"
  kafka_await "$dir"
}

# A command beside a broker or a cluster. Its environment has KAFKA, the addresses; KAFKA_DIRS, the
# directories of the nodes; KAFKA_LINK_PORTS, the ports (+2) at which a link finds each, and whose
# successors (+3) it is to listen at; KAFKA_TLS, the certificates of kafka-secure.sh.
with_kafka() { # [secure] [cluster] VERSION COMMAND...
  local many= node
  if [[ $1 == secure ]]; then kafka_secure && export KAFKA_TLS=$scratch/tls && shift; fi
  if [[ $1 == cluster ]]; then many=1 && shift; fi
  kafka_fetch "$1"
  if [[ -n $many ]]; then kafka_cluster; else kafka_start; fi
  KAFKA_DIRS=$(printf '%s\n' "$scratch"/broker* | paste -sd,)
  KAFKA_LINK_PORTS=$(for node in 1 ${many:+2 3}; do kafka_port "$node" 2; done | paste -sd,)
  export KAFKA=$kafka_address KAFKA_DIRS KAFKA_LINK_PORTS
  "${@:2}"
}

# kafka_leader_program TOPIC: makes $scratch/leader, a program that prints the number of the node
# that leads the topic's one partition; `none` while there is none.
kafka_leader_program() {
  cat >"$scratch/leader" <<LEADER
#!/usr/bin/env bash
java -Xmx128m -XX:+UseSerialGC -XX:TieredStopAtLevel=1 -cp "$(cat "$scratch/classpath")" \
  -Dlog4j2.configurationFile="$scratch/log4j2.properties" \
  org.apache.kafka.tools.TopicCommand --bootstrap-server "$kafka_address" --describe \
  --topic "$1" 2>/dev/null | sed -n 's/.*Partition: 0.*Leader: \([a-z0-9]*\).*/\1/p'
LEADER
  chmod +x "$scratch/leader"
}

# kafka_topic NAME [ARGUMENT...]: one partition that keeps everything, whatever the records' times.
kafka_topic() {
  kafka_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$kafka_address" --create \
    --topic "$1" --partitions 1 --config retention.ms=-1 "${@:2}" >/dev/null
}

# kafka_alter TOPIC KEY=VALUE
kafka_alter() {
  kafka_tool kafka.admin.ConfigCommand --bootstrap-server "$kafka_address" --alter \
    --entity-type topics --entity-name "$1" --add-config "$2" >/dev/null
}

# kafka_offsets TOPIC: the first offset and the end of its one partition.
kafka_offsets() {
  local tried at found
  for at in -2 -1; do
    for ((tried = 0; tried < 20; tried++)); do # it may not have a leader yet
      found=$(kafka_tool org.apache.kafka.tools.GetOffsetShell --time $at \
        --bootstrap-server "$kafka_address" --topic-partitions "$1:0" 2>/dev/null || true)
      if [[ $found == "$1:0:"* ]]; then break; fi
      sleep 0.5
    done
    printf '%s ' "${found##*:}"
  done
}

# kafka_consume TOPIC OFFSET RECORDS [FIELD...]: prints a record a line: time, offset, headers, key
# and value, or these fields and the value.
kafka_consume() {
  local property=--property name names=("${@:4}") properties=()
  if kafka_since 4.2.0; then property=--formatter-property; fi
  ((${#names[@]} > 0)) || names=(timestamp offset headers key)
  for name in "${names[@]}"; do properties+=($property print.$name=true); done
  kafka_tool org.apache.kafka.tools.consumer.ConsoleConsumer --bootstrap-server "$kafka_address" \
    --topic "$1" --partition 0 --offset "$2" --max-messages "$3" --timeout-ms 30000 \
    "${properties[@]}" $property null.literal='<null>' 2>"$scratch/consume.err" \
    || { cat "$scratch/consume.err" >&2; die "Kafka's consumer failed on $1"; }
}

# kafka_produce TOPIC: a line of standard input is a key, a tab and a value.
kafka_produce() {
  local class=org.apache.kafka.tools.ConsoleProducer property=--property
  if ! kafka_since 4.0.0; then class=kafka.tools.ConsoleProducer; fi
  if kafka_since 4.2.0; then property=--reader-property; fi
  kafka_tool $class --bootstrap-server "$kafka_address" --topic "$1" $property parse.key=true \
    >/dev/null
}

# kafka_check DIR [GAPS]: the dump tool on every segment and index in a directory. Where there are
# GAPS it rightly says that offsets do not follow each other. Adds to `checks` and `batches`.
kafka_check() {
  local dir=$1 class=org.apache.kafka.tools.DumpLogSegments complaints
  if ! kafka_since 4.3.0; then class=kafka.tools.DumpLogSegments; fi
  complaints=(-e 'isvalid: false' -e ismatch -e 'not found in' -e 'invalid bytes' -e Exception
    -e 'Error: ')
  if [[ -z ${2:-} ]]; then complaints+=(-e ' is followed by '); fi
  check() { # ARGUMENT FILE...: the tool exits 0 on most complaints
    local argument=$1 && shift
    kafka_tool $class "$argument" --files "$(IFS=,; echo "$*")" >"$scratch/dump" 2>&1 || true
    # A first "-1 is followed by N" only says that a segment does not begin at 0.
    if grep -v -e '^ *-1 is followed by' "$scratch/dump" | grep "${complaints[@]}"; then
      die "Kafka's dump tool complains of $dir"
    fi
    checks=$((checks + $#))
  }
  check --deep-iteration "$dir"/*.log
  batches=$((batches + $(grep -c 'isvalid: true' "$scratch/dump" || true)))
  check --verify-index-only "$dir"/*index
  check --index-sanity-check "$dir"/*index
}
