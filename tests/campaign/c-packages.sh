# shellcheck shell=bash
# The C library as it is installed, found and linked: sourced by tests/campaign/run, which has set
# $scratch and die. What lacks a tool is passed over with a line that says so.

has_tool() { # TOOL WHAT
  command -v "$1" >/dev/null || { echo "c-packages: no $1, passed over: $2"; return 1; }
}

# cargo-c's installation and the release archives, by pkg-config and CMake, static and shared.
c_packages() {
  local target
  c_targets
  if has_tool cargo-cinstall "the installation by cargo-c"; then
    cargo cinstall --release --locked --features capi,kafka,toml --prefix /opt/forebay \
      --destdir "$scratch/dest" >"$scratch/log" 2>&1 || { cat "$scratch/log" >&2; die "cinstall"; }
    c_installed "cargo-c" "$scratch/dest/opt/forebay" gcc ''
    c_installed "cargo-c, clang" "$scratch/dest/opt/forebay" clang ''
    CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$PWD/target} packaging/archive | tee "$scratch/archives"
    while read -r target; do c_archive "$target"; done < \
      <(sed -nE 's/^archive: (.*\.tar\.gz): .*/\1/p' "$scratch/archives")
  fi
}

# The C functions for the processors of gateways: compiled, as far as that goes without a linker.
c_targets() {
  local target features
  for target in aarch64-unknown-linux-gnu armv7-unknown-linux-gnueabihf; do
    compgen -G "$(rustc --print target-libdir --target "$target")/libstd-*.rlib" >/dev/null || {
      echo "c-packages: passed over, for it has no standard library here: $target"
      continue
    }
    for features in ffi ffi,replicator,toml; do
      RUSTFLAGS="-D warnings" cargo check --quiet --lib --no-default-features \
        --features "$features" --target "$target"
    done
    echo "c-packages: $target: the C functions compile"
  done
}

# Unpacked where nobody knew it would be; what is for another processor runs in qemu.
c_archive() { # FILE
  local name target emulator='' compiler=gcc
  name=$(basename "$1" .tar.gz)
  target=${name#forebay-*.*.*-}
  mkdir -p "$scratch/any where"
  tar -C "$scratch/any where" -xzf "$1"
  ln -s "$scratch/any where/$name" "$scratch/$name"
  case $target in
    aarch64-*) compiler=aarch64-linux-gnu-gcc emulator="qemu-aarch64-static -L /usr/aarch64-linux-gnu" ;;
    armv7-* | thumbv7*) compiler=arm-linux-gnueabihf-gcc emulator="qemu-arm-static -L /usr/arm-linux-gnueabihf" ;;
  esac
  if [[ $target == "$(uname -m)"-* ]]; then compiler=gcc emulator=''; fi
  if [[ -n $emulator ]] && ! has_tool "${emulator%% *}" "the programs of $target"; then
    emulator=true
  fi
  c_installed "$name" "$scratch/$name" "$compiler" "$emulator"
}

# Every example in every way; one that is not there is a failure of the loop, not a silence.
c_installed() { # NAME ROOT COMPILER EMULATOR
  local name=$1 root=$2 compiler=$3 emulator=$4 source example pc way work
  has_tool "$compiler" "$name" || return 0
  pc=$(dirname "$(find "$root/" -name forebay.pc)")
  readelf -d "$pc/../libforebay.so" | grep -q 'soname: \[libforebay.so.0.1\]' || die "$name: soname"
  work=$(mktemp -d -p "$scratch")
  if has_tool pkg-config "$name by pkg-config"; then
    for way in static shared; do
      for source in examples/c/*.c; do
        # shellcheck disable=SC2046
        "$compiler" -std=c99 -Wall -Wextra -Werror "$source" -o "$work/$(basename "$source" .c)-$way" \
          $(c_flags "$pc" $way)
      done
      for source in examples/c/*.c; do
        example=$work/$(basename "$source" .c)-$way
        c_run "$name, pkg-config, $way" "$example" "$pc/.." "$emulator"
      done
    done
  fi
  if has_tool cmake "$name by CMake"; then
    for way in static shared; do c_cmake "$@" $way "$pc"; done
    c_wrong_version "$root" "$compiler"
  fi
  [[ -n $emulator ]] || c_valgrind "$name" "$work"
}

# Both libraries lie in one directory, of which -lforebay means the shared one. What cargo-c has
# installed below a --destdir is used where it lies, as a sysroot.
c_flags() { # PC WAY
  local flags prefix options=(--cflags --libs)
  if [[ $2 == static ]]; then options+=(--static); fi
  prefix=$(sed -n 's/^prefix=//p' "$1/forebay.pc")
  flags=$(PKG_CONFIG_SYSROOT_DIR=$([[ $prefix != /* ]] || echo "${1%%"$prefix"/*}") \
    PKG_CONFIG_PATH=$1 pkg-config "${options[@]}" forebay)
  if [[ $2 == static ]]; then flags=${flags/-lforebay/-l:libforebay.a}; fi
  echo "$flags"
}

# What an example is told besides its directory.
c_words() { # PROGRAM DIRECTORY
  case $(basename "$1") in
    gateway*) echo "--log $2/other --rate 1000 --count 20" ;;
    follow*) echo "--count 2" ;;
  esac
}

# Twice, the second time on what the first one left.
c_run() { # WHAT PROGRAM LIBDIR EMULATOR
  local dir words
  dir=$(mktemp -d -p "$scratch")
  read -ra words <<<"$(c_words "$2" "$dir")"
  # It follows what the other example has written.
  case $(basename "$2") in
    follow*) LD_LIBRARY_PATH=$3 timeout 120 $4 "${2/%follow*/quickstart${2##*follow}}" "$dir/log" ;;
  esac >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2; die "$1: nothing to follow"; }
  for _ in 1 2; do
    # shellcheck disable=SC2086
    LD_LIBRARY_PATH=$3 timeout 120 $4 "$2" "$dir/log" "${words[@]}" >"$scratch/said" 2>&1 \
      || { cat "$scratch/said" >&2; die "$1: $(basename "$2") failed"; }
  done
  echo "c-packages: $1: $(basename "$2")"
}

c_cmake() { # NAME ROOT COMPILER EMULATOR WAY PC
  local build source program
  build=$(mktemp -d -p "$scratch")
  cmake -S examples/c -B "$build" -DCMAKE_PREFIX_PATH="$2" -DCMAKE_C_COMPILER="$3" \
    -DFOREBAY="forebay::$5" >"$scratch/log" || { cat "$scratch/log" >&2; die "$1: CMake"; }
  cmake --build "$build" >"$scratch/log" || { cat "$scratch/log" >&2; die "$1: CMake's build"; }
  for source in examples/c/*.c; do
    program=$build/$(basename "$source" .c)
    if readelf -d "$program" | grep -q 'NEEDED.*libforebay'; then
      [[ $5 == shared ]] || die "$1: forebay::static linked the shared library"
    else
      [[ $5 == static ]] || die "$1: forebay::shared linked the static library"
    fi
    c_run "$1, CMake, $5" "$program" "$6/.." "$4"
  done
}

# The next minor version is another library before 1.0, and an older one has less.
c_wrong_version() { # ROOT COMPILER
  local wrong dir
  for wrong in 0.2 0.0.9 1.0 0.1.99; do
    dir=$(mktemp -d -p "$scratch")
    printf 'cmake_minimum_required(VERSION 3.13)\nproject(p C)\nfind_package(forebay %s REQUIRED)\n' \
      "$wrong" >"$dir/CMakeLists.txt"
    if cmake -S "$dir" -B "$dir/b" -DCMAKE_PREFIX_PATH="$1" -DCMAKE_C_COMPILER="$2" \
      >/dev/null 2>&1; then
      die "find_package(forebay $wrong) takes this one"
    fi
  done
}

# As released: no handle is kept when it is freed.
c_valgrind() { # NAME DIRECTORY
  local program dir words
  has_tool valgrind "$1 in valgrind" || return 0
  for program in "$2"/*-static; do
    dir=$(mktemp -d -p "$scratch")
    read -ra words <<<"$(c_words "$program" "$dir")"
    for _ in 1 2; do
      valgrind --quiet --error-exitcode=99 --leak-check=full --show-leak-kinds=all \
        --errors-for-leak-kinds=definite,indirect,possible "$program" "$dir/log" \
        "${words[@]}" \
        >"$scratch/said" 2>&1 || { cat "$scratch/said" >&2; die "$1: valgrind"; }
    done
    echo "c-packages: $1: nothing found by valgrind in $(basename "$program")"
  done
}
