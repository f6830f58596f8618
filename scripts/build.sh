#!/usr/bin/env bash
# Installs what is missing, configures a preset and builds its binaries: build/<preset>/bin/.
#   scripts/build.sh [release|dev|asan|tsan|cuda]     default: release
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

"$PARROT_ROOT/scripts/install_deps.sh"
configure_preset "${1:-release}"
say "building the binaries of preset ${1:-release}"
cmake --build --preset "${1:-release}" --target binaries >&2
say "built: build/${1:-release}/bin/"
