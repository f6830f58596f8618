#!/usr/bin/env bash
# Builds llama.cpp, the peer that run.py measures beside parrot-bench, from the source package of
# llama-cpp-python (pinned by hash; the only thing fetched), twice: for this machine's own
# instruction set, and for AVX2 alone, so that AVX2 is compared with AVX2. Nothing is written inside
# the repository. Does again only what is missing.
#   bench/peers/build_llama.sh [FOLDER]      default ${XDG_CACHE_HOME:-~/.cache}/parrot-peers
# PARROT_PEERS_JOBS: compilations at once (default: all cores).
set -euo pipefail

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$here/../.." && pwd)
folder=$(realpath -m "${1:-${XDG_CACHE_HOME:-$HOME/.cache}/parrot-peers}")
jobs=${PARROT_PEERS_JOBS:-$(nproc)}
package=llama-cpp-python
version=0.3.36  # llama.cpp 0.5.0, ggml 0.25.3
sha256=832db0699007f1be95a7e41ef12e88926b02ba836461e36a36372db2760c1a2e
sources=$folder/llama.cpp-$version

case $folder/ in
  "$root"/*) echo "build_llama.sh: $folder is inside the repository" >&2; exit 2 ;;
esac

say() { echo "build_llama.sh: $*" >&2; }

fetch_sources() {
  [ ! -d "$sources" ] || return 0
  local staging=$folder/partial.$$
  mkdir -p "$staging"
  trap 'rm -rf "$staging"' EXIT
  say "downloading $package $version (77 MB)"
  echo "$package==$version --hash=sha256:$sha256" >"$staging/requirements.txt"
  python3 -m pip download --quiet --disable-pip-version-check --no-deps --require-hashes \
    --no-binary "$package" -d "$staging" -r "$staging/requirements.txt"
  tar -xzf "$staging"/llama_cpp_python-*.tar.gz -C "$staging" --strip-components=1 \
    --wildcards '*/vendor/llama.cpp'
  keep_tile_configuration "$staging/vendor/llama.cpp/ggml/src/ggml-cpu/amx/mmq.cpp"
  mv "$staging/vendor/llama.cpp" "$sources"
  rm -rf "$staging"
  trap - EXIT
}

# GCC 12 declares ldtilecfg as reading 8 bytes and drops the other stores into the 64 bytes of the
# configuration: the program faults at the first AMX tile. The barrier makes all of them happen.
keep_tile_configuration() {
  local file=$1
  grep -q '_tile_loadconfig(&tc);' "$file" || return 0
  ! grep -B1 '_tile_loadconfig(&tc);' "$file" | grep -q 'asm volatile' || return 0
  say "putting a compiler barrier before _tile_loadconfig"
  sed -i 's/^\( *\)_tile_loadconfig(&tc);/\1asm volatile("" : "+m"(tc));\n&/' "$file"
}

# build NAME CMAKE-OPTION...: programs in $folder/NAME/bin.
build() {
  local build=$folder/$1
  shift
  say "building ${build##*/} ($*)"
  cmake -S "$sources" -B "$build" -Wno-dev -DCMAKE_BUILD_TYPE=Release -DBUILD_SHARED_LIBS=ON \
    -DLLAMA_BUILD_TESTS=OFF -DLLAMA_BUILD_EXAMPLES=OFF -DLLAMA_BUILD_SERVER=OFF \
    -DLLAMA_BUILD_APP=OFF -DLLAMA_OPENSSL=OFF -DMTMD_VIDEO=OFF -DGGML_OPENMP=ON "$@" \
    >"$build.log" 2>&1 || { tail "$build.log" >&2; exit 1; }
  cmake --build "$build" -j "$jobs" \
    --target llama-bench llama-batched-bench llama-quantize mtmd >>"$build.log" 2>&1 ||
    { tail -n 30 "$build.log" >&2; exit 1; }
  g++ -std=c++17 -O2 -Wall -isystem "$sources/tools/mtmd" -isystem "$sources/include" \
    -isystem "$sources/ggml/include" \
    "$here/vision_driver.cc" -o "$build/bin/vision-driver" -L"$build/bin" -lmtmd -lllama -lggml \
    -lggml-base -Wl,-rpath,'$ORIGIN'
}

mkdir -p "$folder"
fetch_sources
build native -DGGML_NATIVE=ON
build avx2 -DGGML_NATIVE=OFF -DGGML_SSE42=ON -DGGML_AVX=ON -DGGML_AVX2=ON -DGGML_FMA=ON \
  -DGGML_F16C=ON -DGGML_BMI2=ON -DGGML_AVX512=OFF -DGGML_AMX_TILE=OFF
say "ready in $folder: native/bin and avx2/bin"
