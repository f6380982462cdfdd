# A real Kafka for the campaigns: one broker (KRaft) from Maven Central, and its tools. Sourced by
# `run`, which has a scratch directory in `scratch` and a function `die`. Needs Java 17 and Maven.

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

# kafka_start: the broker at $kafka_address, its data in $scratch/broker/data. What is there from
# before stays.
kafka_start() {
  local dir=$scratch/broker port=${KAFKA_PORT:-29092} waited
  kafka_address=127.0.0.1:$port
  if [[ ! -s $dir/server.properties ]]; then
    if (: <>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; then die "port $port is in use: KAFKA_PORT"; fi
    mkdir -p "$dir"
    cat >"$dir/server.properties" <<CONFIGURATION
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:$((port + 1))
listeners=PLAINTEXT://$kafka_address,CONTROLLER://127.0.0.1:$((port + 1))
advertised.listeners=PLAINTEXT://$kafka_address
inter.broker.listener.name=PLAINTEXT
controller.listener.names=CONTROLLER
listener.security.protocol.map=CONTROLLER:PLAINTEXT,PLAINTEXT:PLAINTEXT
log.dirs=$dir/data
default.replication.factor=1
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
group.initial.rebalance.delay.ms=0
CONFIGURATION
    kafka_tool kafka.tools.StorageTool format -c "$dir/server.properties" \
      -t "$(kafka_tool kafka.tools.StorageTool random-uuid | tail -n 1)" >"$dir/format.out" 2>&1 \
      || { cat "$dir/format.out" >&2; die "the broker's storage could not be formatted"; }
  fi
  : >"$dir/server.log"
  java -Xmx512m -Dkafka.log="$dir/server.log" \
    -Dlog4j2.configurationFile="$scratch/log4j2.properties" -cp "$(cat "$scratch/classpath")" \
    kafka.Kafka "$dir/server.properties" </dev/null >"$dir/server.out" 2>&1 &
  kafka_pid=$!
  for ((waited = 0; waited < 300; waited++)); do
    if grep -q 'Kafka Server started' "$dir/server.log"; then return; fi
    kill -0 "$kafka_pid" 2>/dev/null || break
    sleep 0.2
  done
  tail -n 20 "$dir/server.out" "$dir/server.log" >&2
  die "the broker did not start"
}

# kafka_stop [SIGNAL]: asks the broker to end (TERM), and waits until it has.
kafka_stop() {
  local pid=${kafka_pid:-}
  kafka_pid=
  if [[ -n $pid ]] && kill -"${1:-TERM}" "$pid" 2>/dev/null; then wait "$pid" || true; fi
}

# kafka_topic NAME [ARGUMENT...]: one partition that keeps everything, whatever the records' times.
kafka_topic() {
  kafka_tool org.apache.kafka.tools.TopicCommand --bootstrap-server "$kafka_address" --create \
    --topic "$1" --partitions 1 --config retention.ms=-1 "${@:2}" >/dev/null
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

# kafka_consume TOPIC OFFSET RECORDS: prints a record a line: time, offset, headers, key, value.
kafka_consume() {
  local property=--property name properties=()
  if kafka_since 4.2.0; then property=--formatter-property; fi
  for name in timestamp offset headers key; do properties+=($property print.$name=true); done
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
