# shellcheck shell=bash
# The example ships to a real Kafka over TLS, with logins and with certificates on both sides, and
# says what is wrong where something is: sourced by tests/campaign/run, which has set $scratch and
# die.

# The proof is the example's own; that it can fail is seen in uplink_secure_planted.
uplink_secure() { # [VERSION]
  local version=${1:-4.3.1} tls=$scratch/tls ports good=0 told=0 topics=0 program
  cargo build --quiet --release --features kafka --example store_and_forward
  program=${CARGO_TARGET_DIR:-target}/release/examples/store_and_forward
  export KAFKA_PASSWORD=device-secret
  KAFKA_REAUTH_MS=3000 kafka_secure
  openssl ec -in "$tls/client.key" -out "$tls/client-sec1.key" 2>/dev/null
  openssl pkcs12 -in "$tls/client.p12" -passin pass:forebay-test -nodes -nocerts \
    -out "$tls/half.key" 2>/dev/null
  uplink_secure_rsa "$tls"
  uplink_secure_token "$tls/token" 3600
  uplink_secure_token "$tls/old-token" -100
  kafka_fetch "$version"
  KAFKA_REAUTH_MS=3000 kafka_start
  ports=$(kafka_port 1)
  uplink_secure_ships
  uplink_secure_planted
  uplink_secure_says
  echo "uplink-secure: Kafka $version: $good ways ship each record once; $told faults are told"
}

# PKCS#1, as openssl wrote RSA keys before PKCS#8.
uplink_secure_rsa() { # DIR
  tls_tool -genkeypair -alias rsa -keystore "$1/rsa.p12" -dname CN=device -keyalg RSA -keysize 2048
  tls_tool -certreq -alias rsa -keystore "$1/rsa.p12" >"$1/rsa.csr"
  tls_tool -gencert -rfc -alias ca -keystore "$1/ca.p12" -infile "$1/rsa.csr" >"$1/rsa.pem"
  openssl pkcs12 -in "$1/rsa.p12" -passin pass:forebay-test -nodes -nocerts 2>/dev/null |
    openssl rsa -traditional -out "$1/rsa.key" 2>/dev/null
}

# A token without a signature, as Kafka takes it where nothing else is configured.
uplink_secure_token() { # FILE SECONDS
  local part now
  now=$(date +%s)
  for part in '{"alg":"none"}' \
    "{\"sub\":\"device\",\"iat\":$((now - 1000)),\"exp\":$((now + $2))}"; do
    printf '%s' "$part" | base64 -w0 | tr '+/' '-_' | tr -d =
    printf .
  done >"$1"
}

uplink_secure_run() { # SECONDS WHICH-PORT [OPTION...]
  topics=$((topics + 1))
  timeout "$1" "$program" --dir "$scratch/secure-$topics" --topic "secure-$topics" --create-topic \
    --kafka "127.0.0.1:$((ports + $2))" "${@:3}" >"$scratch/out" 2>&1
}

uplink_secure_ships() {
  local ca=(--ca "$tls/ca.pem") user=(--user device) mechanism
  local client=(--cert "$tls/client.pem")
  ships() { # WHICH-PORT [OPTION...]
    uplink_secure_run 120 "$@" || { cat "$scratch/out"; die "it does not ship with $*"; }
    good=$((good + 1))
  }
  ships 5 "${ca[@]}" --seconds 3
  ships 5 "${ca[@]}" --seconds 3 --outages
  ships 7 "${ca[@]}" --seconds 3 "${client[@]}" --key "$tls/client.key" --outages
  ships 7 "${ca[@]}" --seconds 1 "${client[@]}" --key "$tls/client-sec1.key"
  ships 7 "${ca[@]}" --seconds 1 --cert "$tls/rsa.pem" --key "$tls/rsa.key"
  for mechanism in PLAIN SCRAM-SHA-256 SCRAM-SHA-512; do
    ships 4 --seconds 1 --sasl $mechanism "${user[@]}"
    ships 6 "${ca[@]}" --seconds 1 --sasl $mechanism "${user[@]}" --outages
  done
  # A login lasts three seconds here: it is renewed, and nothing has to be connected anew.
  for mechanism in PLAIN SCRAM-SHA-512 OAUTHBEARER; do
    ships 6 "${ca[@]}" --seconds 10 --sasl $mechanism "${user[@]}" --password-file "$(
      if [[ $mechanism == OAUTHBEARER ]]; then echo "$tls/token"; else
        echo device-secret >"$tls/word" && echo "$tls/word"
      fi
    )"
    grep -q '; 0 reconnects' "$scratch/out" \
      || { cat "$scratch/out"; die "$mechanism: the login was not renewed in time"; }
  done
}

# The proof is seen to fail: records that are gone from the topic are missed.
uplink_secure_planted() {
  local verify=("$program" --dir "$scratch/secure-1" --topic secure-1 --verify
    --kafka "127.0.0.1:$ports")
  "${verify[@]}" >"$scratch/out" || { cat "$scratch/out"; die "the proof does not hold again"; }
  echo '{"version":1,"partitions":[{"topic":"secure-1","partition":0,"offset":10}]}' \
    >"$scratch/delete.json"
  kafka_tool org.apache.kafka.tools.DeleteRecordsCommand --bootstrap-server "127.0.0.1:$ports" \
    --offset-json-file "$scratch/delete.json" >/dev/null
  if "${verify[@]}" >"$scratch/out"; then
    cat "$scratch/out"
    die "records that are gone are not missed"
  fi
  grep -q ', 10 missing,' "$scratch/out" || { cat "$scratch/out"; die "not as missing ones"; }
}

# What goes wrong is told in words that help.
uplink_secure_says() {
  local ca=(--ca "$tls/ca.pem") plain=(--sasl PLAIN --user device)
  says() { # WORDS WHICH-PORT [OPTION...]
    uplink_secure_run 4 "${@:2}" --seconds 1 || true
    grep '^replicator: ' "$scratch/out" | grep -q -- "$1" \
      || { cat "$scratch/out"; die "not told with ${*:2}: $1"; }
    told=$((told + 1))
  }
  says 'issued by none of the authorities' 5 --ca "$tls/other-ca.pem"
  says 'issued by none of the authorities' 5 --tls
  says 'this port speaks TLS' 5
  says 'does this port speak TLS' 0 --tls
  says 'asks for a certificate of this device' 7 "${ca[@]}"
  says 'openssl ec -in' 7 "${ca[@]}" --cert "$tls/client.pem" --key "$tls/half.key"
  says 'key is not the one of its certificate' 7 "${ca[@]}" --cert "$tls/rsa.pem" \
    --key "$tls/client.key"
  says 'may want a login' 4
  says 'ILLEGAL_SASL_STATE' 0 "${plain[@]}"
  says 'invalid_token' 6 "${ca[@]}" --sasl OAUTHBEARER --password-file "$tls/old-token"
  KAFKA_PASSWORD=wrong says 'SASL_AUTHENTICATION_FAILED' 6 "${ca[@]}" "${plain[@]}"
}
