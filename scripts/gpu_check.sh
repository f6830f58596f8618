#!/usr/bin/env bash
# Builds the engine (no server) on a machine that has only CMake, Ninja, a C++ compiler, CUDA and
# torch 2.11.0, runs the golden tests on the GPU and prints first figures at Parrot-7B's sizes.
#
#   scripts/gpu_check.sh --prepare    on a Debian 12 machine with a network, before: unpacks Abseil,
#                                     GoogleTest and the other small libraries from their Debian
#                                     packages into .cache/gpu-check, which goes along
#   scripts/gpu_check.sh [MODEL]      builds and checks; MODEL of the figures: 7b (default), 1.8b,
#                                     0.5b, tiny. Needs no network.
#
# Without a GPU it builds, says that nothing ran there, and succeeds. torch is the one that python3
# finds, or PARROT_TORCH_DIR (the folder that holds torch/). Exit status 1: something failed.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
prefix=$root/.cache/gpu-check
build=$root/build/cuda
packages=(libabsl-dev libgtest-dev libgmock-dev nlohmann-json3-dev libssl-dev liblzma-dev
  libpng-dev zlib1g-dev)

say() { printf '[%4ds] %s\n' "$SECONDS" "$*" >&2; }
die() {
  printf 'error: %s\n' "$*" >&2
  exit 1
}

prepare() {
  local debs cmake_files
  say "unpacking ${packages[*]} to .cache/gpu-check"
  rm -rf "$prefix"
  mkdir -p "$prefix"
  debs=$(mktemp -d)
  chmod 755 "$debs"
  (cd "$debs" && apt-get download -qq "${packages[@]}")
  for deb in "$debs"/*.deb; do dpkg -x "$deb" "$prefix"; done
  rm -rf "$debs" "$prefix"/usr/share/{doc,man} "${prefix:?}/usr/bin"
  # Static libraries only: shared ones are in other packages and would have to be found at run time.
  find "$prefix" \( -name '*.so' -o -name 'libssl.a' \) -delete
  cmake_files=$prefix/usr/lib/x86_64-linux-gnu/cmake/absl
  sed -i 's/ SHARED IMPORTED/ STATIC IMPORTED/' "$cmake_files/abslTargets.cmake"
  sed -i -e 's/\.so\.[0-9.]*"/.a"/' -e '/IMPORTED_SONAME/d' "$cmake_files/abslTargets-none.cmake"
  find "$prefix" -name '*.a' -exec strip --strip-debug {} +
  say "ready: $(du -sh "$prefix" | cut -f1)"
}

# The folder that holds torch/: from the environment, the CPU set-up's cache, or python3.
find_torch() {
  local cached=${PARROT_CACHE_DIR:-$HOME/.cache/parrot-server}/torch-2.11.0
  if [ -n "${PARROT_TORCH_DIR:-}" ]; then
    echo "$PARROT_TORCH_DIR"
  elif python3 -c 'import importlib.util as u, sys; sys.exit(u.find_spec("torch") is None)'; then
    python3 -c 'import importlib.util as u, os
print(os.path.dirname(u.find_spec("torch").submodule_search_locations[0]))'
  elif [ -e "$cached/torch" ]; then
    echo "$cached"
  else
    die "torch 2.11.0 not found: install it for python3 or set PARROT_TORCH_DIR"
  fi
}

build_engine() {
  local torch arguments=()
  torch=$(find_torch)
  if [ -d "$prefix/usr" ]; then
    arguments=(-DCMAKE_PREFIX_PATH="$prefix/usr" -DCMAKE_LIBRARY_ARCHITECTURE=x86_64-linux-gnu
      -DCMAKE_FIND_USE_CMAKE_SYSTEM_PATH=OFF -DOPENSSL_ROOT_DIR="$prefix/usr"
      -DOPENSSL_USE_STATIC_LIBS=ON -DCMAKE_CXX_FLAGS="-isystem $prefix/usr/include"
      -DCMAKE_EXE_LINKER_FLAGS="-L$prefix/usr/lib/x86_64-linux-gnu")
  fi
  say "building with torch of $torch"
  (cd "$root" && cmake --preset cuda -DPARROT_TORCH_DIR="$torch" "${arguments[@]}") >"$build.log" 2>&1 ||
    { cat "$build.log" >&2; die "configuring failed"; }
  cmake --build "$build" -j "${CMAKE_BUILD_PARALLEL_LEVEL:-$(nproc)}" >>"$build.log" 2>&1 ||
    { tail -60 "$build.log" >&2; die "building failed"; }
}

run_tests() {
  say "tests on the CPU: everything that was built"
  PARROT_TEST_DEVICE=cpu ctest --test-dir "$build" --output-on-failure --no-tests=error -j 2
}

run_on_gpu() {
  local status=0
  say "looking for a CUDA device"
  "$build/bin/device_figures" cuda float32 tiny || status=$?
  if [ "$status" = 3 ]; then
    if command -v nvidia-smi >/dev/null && nvidia-smi -L >/dev/null 2>&1; then
      die "there is a GPU, and torch cannot use it"
    fi
    say "NOT RUN: the golden tests and figures on a GPU (no usable CUDA device); everything compiled"
    return 0
  fi
  [ "$status" = 0 ] || die "the tiny model failed on the CUDA device"
  say "golden tests on the GPU"
  PARROT_TEST_DEVICE=cuda ctest --test-dir "$build" -L golden --no-tests=error --verbose |
    grep -E ' on cuda|tests passed|tests failed|FAILED|Failure' || true
  PARROT_TEST_DEVICE=cuda ctest --test-dir "$build" -L golden --no-tests=error --quiet ||
    die "golden tests failed on the CUDA device"
  say "figures, bfloat16, model $1"
  "$build/bin/device_figures" cuda bfloat16 "$1"
  say "RAN: golden tests and figures on the CUDA device"
}

case ${1:-7b} in
  --prepare) prepare ;;
  7b | 1.8b | 0.5b | tiny)
    mkdir -p "$root/build"
    build_engine
    run_tests
    run_on_gpu "${1:-7b}"
    ;;
  *) die "usage: gpu_check.sh [--prepare | 7b | 1.8b | 0.5b | tiny]" ;;
esac
