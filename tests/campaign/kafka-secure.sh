# Listeners with TLS and passwords for the brokers of kafka.sh: sourced by tests/campaign/run, which
# has set $scratch and die. Needs keytool, which comes with Java, and openssl.
#
# After kafka_secure a new node has four more ports: +4 SASL without TLS, +5 TLS, +6 SASL in TLS, +7
# TLS for clients with a certificate only.
# SASL is PLAIN, SCRAM-SHA-256, SCRAM-SHA-512 or OAUTHBEARER (unsigned tokens), for the user
# `device` with the password `device-secret`. In $scratch/tls: ca.pem, which issued all of them;
# broker, for localhost and 127.0.0.1; client, which the broker asks for and, but for +7, does
# without; each with NAME.pem and NAME.key; other-ca.pem, which issued none. KAFKA_EXPIRED=1: the
# broker's certificate ended yesterday. KAFKA_REAUTH_MS: how long a login lasts, if not for ever.

kafka_secured= # set: nodes that are made have these listeners

kafka_secure() {
  command -v openssl >/dev/null || die "no openssl (Debian: openssl)"
  local tls=$scratch/tls
  mkdir -p "$tls"
  tls_authority "$tls/ca" forebay-test
  tls_authority "$tls/other-ca" another
  if [[ -n ${KAFKA_EXPIRED:-} ]]; then
    tls_issue "$tls" broker localhost -startdate -3d -validity 2
  else
    tls_issue "$tls" broker localhost -validity 3650
  fi
  tls_issue "$tls" client device -validity 3650
  tls_tool -importcert -noprompt -alias ca -file "$tls/ca.pem" -keystore "$tls/trust.p12"
  kafka_format=(--add-scram 'SCRAM-SHA-256=[name=device,password=device-secret]'
    --add-scram 'SCRAM-SHA-512=[name=device,password=device-secret]')
  kafka_secured=1
}

tls_tool() { # ARGUMENT...
  keytool -storetype PKCS12 -storepass forebay-test "$@" 2>"$scratch/keytool.err" \
    || { cat "$scratch/keytool.err" >&2; die "keytool $1 failed"; }
}

# A self-signed authority: NAME.p12 and NAME.pem.
tls_authority() { # NAME COMMON-NAME
  tls_tool -genkeypair -alias ca -keystore "$1.p12" -dname "CN=$2" -keyalg EC \
    -groupname secp256r1 -ext bc:c -validity 3650
  tls_tool -exportcert -rfc -alias ca -keystore "$1.p12" >"$1.pem"
}

# A certificate by the authority: NAME.p12 with the chain, NAME.pem and NAME.key.
tls_issue() { # DIR NAME COMMON-NAME ARGUMENT...
  local dir=$1 name=$2 store=$1/$2.p12
  tls_tool -genkeypair -alias "$name" -keystore "$store" -dname "CN=$3" -keyalg EC \
    -groupname secp256r1
  tls_tool -certreq -alias "$name" -keystore "$store" >"$dir/$name.csr"
  tls_tool -gencert -rfc -alias ca -keystore "$dir/ca.p12" -infile "$dir/$name.csr" \
    -ext SAN=dns:localhost,ip:127.0.0.1 "${@:4}" >"$dir/$name.pem"
  tls_tool -importcert -noprompt -alias ca -file "$dir/ca.pem" -keystore "$store"
  tls_tool -importcert -noprompt -alias "$name" -file "$dir/$name.pem" -keystore "$store"
  # Java leaves the public part out of a key, which others need.
  openssl pkcs12 -in "$store" -passin pass:forebay-test -nodes -nocerts 2>/dev/null |
    openssl ec 2>/dev/null | openssl pkey >"$dir/$name.key"
}

# The listeners of a node that is being made, behind those it has.
kafka_secure_node() { # NODE DIR
  local node=$1 dir=$2 tls=$scratch/tls host=127.0.0.1 all told name map
  all=$(sed -n 's/^listeners=//p' "$dir/server.properties" | tail -n 1)
  told=$(sed -n 's/^advertised.listeners=//p' "$dir/server.properties" | tail -n 1)
  name=SASL://$host:$(kafka_port "$node" 4),TLS://$host:$(kafka_port "$node" 5)
  name+=,SASLTLS://$host:$(kafka_port "$node" 6),MTLS://$host:$(kafka_port "$node" 7)
  map=$(sed -n '/^listener.security/p' "$dir/server.properties" | tail -n 1)
  kafka_set "$dir" "listeners=$all,$name" "advertised.listeners=$told,$name" \
    "$map,SASL:SASL_PLAINTEXT,TLS:SSL,SASLTLS:SASL_SSL,MTLS:SSL"
  for name in tls sasltls mtls; do
    kafka_set "$dir" "listener.name.$name.ssl.keystore.location=$tls/broker.p12" \
      "listener.name.$name.ssl.keystore.password=forebay-test" \
      "listener.name.$name.ssl.key.password=forebay-test" \
      "listener.name.$name.ssl.truststore.location=$tls/trust.p12" \
      "listener.name.$name.ssl.truststore.password=forebay-test" \
      "listener.name.$name.ssl.client.auth=requested"
  done
  kafka_set "$dir" listener.name.mtls.ssl.client.auth=required
  if [[ -n ${KAFKA_REAUTH_MS:-} ]]; then
    kafka_set "$dir" "listener.name.sasl.connections.max.reauth.ms=$KAFKA_REAUTH_MS" \
      "listener.name.sasltls.connections.max.reauth.ms=$KAFKA_REAUTH_MS"
  fi
  local security=org.apache.kafka.common.security user='user_device="device-secret"'
  local oauth=$security.oauthbearer.OAuthBearerLoginModule
  local claim='unsecuredLoginStringClaim_sub="broker"'
  for name in sasl sasltls; do
    name=listener.name.$name
    kafka_set "$dir" \
      "$name.sasl.enabled.mechanisms=PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER" \
      "$name.plain.sasl.jaas.config=$security.plain.PlainLoginModule required $user;" \
      "$name.scram-sha-256.sasl.jaas.config=$security.scram.ScramLoginModule required;" \
      "$name.scram-sha-512.sasl.jaas.config=$security.scram.ScramLoginModule required;" \
      "$name.oauthbearer.sasl.jaas.config=$oauth required $claim;"
  done
}
