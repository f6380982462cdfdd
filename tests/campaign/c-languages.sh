# Other languages on the C library: what takes more than it has in a test. Sourced by run.

c_languages() {
  local classes=$scratch/java/classes
  for tool in java mvn; do
    command -v "$tool" >/dev/null || { echo "c-languages: no $tool, passed over: Java"; return; }
  done
  mvn -q -B -f examples/java/pom.xml -Dforebay.build="$scratch/java" package
  FOREBAY_JAVA_CLASSES="$classes:$classes/jna.jar" timeout 900 \
    cargo test --quiet --all-features --test c -- --exact languages::what_java_appends_rust_ships
  echo "c-languages: Java appends, Rust ships it and finds it as it was"
}
