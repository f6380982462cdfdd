# The whole crate on simulated disks: sourced by tests/campaign/run, which has set die.
#
# A line that breaks a law is printed at once, and at the end once more, shortened: it reproduces by
# itself, with FOREBAY_WHOLE in the environment of the test, and belongs into tests/whole/seeds.txt.
# Nothing is left behind but what was built, below CARGO_TARGET_DIR.

# Assertions and checks of overflow are on, as .ci/run has them.
whole_test() { # TEST FILTER
  export CARGO_PROFILE_RELEASE_DEBUG_ASSERTIONS=true CARGO_PROFILE_RELEASE_OVERFLOW_CHECKS=true
  export CARGO_PROFILE_RELEASE_LTO=off CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16
  export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-target}/assertions"
  cargo test --release --all-features --test "$1" -- --test-threads=1 --nocapture "$2"
}

whole() { # [MINUTES]
  # First the planted faults, each of which has to be found and shortened; then a fault at one call
  # in five of a fixed work.
  export FOREBAY_WHOLE_FAULTS=5
  whole_test whole ignored_syncs | grep -o '[A-Z][a-zA-Z()]*: broken after.*workloads'
  whole_test whole flushes_that_never_were | grep -o '[A-Z][a-zA-Z()]*: broken after.*workloads'
  whole_test whole every_fault | grep -v '^running\|^test \|^$'
  FOREBAY_WHOLE_MINUTES=${1:-10} whole_test whole a_store_holds | grep -v '^running\|^test \|^$'
}

bits() { # [closed|killed|cut|all]
  local of=${1:-closed}
  whole_test bits the_judge_sees | grep '^test result'
  case $of in
    closed) of=every_bit_of_a_closed ;;
    killed) of=every_bit_of_a_killed ;;
    cut) of=every_bit_of_a_log_after_a_power_cut ;;
    all) of=every_bit ;;
    *) die "bits of what? closed, killed, cut or all" ;;
  esac
  FOREBAY_BITS=all whole_test bits "$of" | grep -o 'bits: .*'
}
