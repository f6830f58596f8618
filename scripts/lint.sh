#!/usr/bin/env bash
# The lint step: formatting, include rules and clang-tidy; fails on what they find.
#   scripts/lint.sh            all
#   scripts/lint.sh --format   rewrites files with clang-format instead of checking
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"
cd "$PARROT_ROOT"

mapfile -t formatted < <(git ls-files '*.cc' '*.h')
if [ "${1:-}" = --format ]; then
  clang-format -i "${formatted[@]}"
  exit 0
fi
say "lint: clang-format of ${#formatted[@]} files"
clang-format --dry-run --Werror "${formatted[@]}"
say "lint: include rules"
python3 scripts/check_includes.py

# clang-tidy sees product code, compiled by clang without precompiled headers. A file whose
# preprocessed text was clean before is not analysed again. (bench/server_overhead is built with
# the tests, on their fakes; bench/peers/vision_driver.cc with llama.cpp.)
configure_preset tidy
cmake --build build/tidy --target parrot_proto >/dev/null
mapfile -t sources < <(git ls-files 'base/*.cc' 'model/*.cc' 'scheduler/*.cc' 'server/*.cc' \
  'client/*.cc' 'inspect/*.cc' 'eval/*.cc' 'train/*.cc' 'bench/*.cc' ':!bench/server_overhead' \
  ':!bench/peers/vision_driver.cc')
say "lint: clang-tidy of ${#sources[@]} sources"
python3 scripts/run_clang_tidy.py --build build/tidy --cache "$PARROT_CACHE_DIR/tidy" \
  --jobs "$CMAKE_BUILD_PARALLEL_LEVEL" "${sources[@]}"
say "lint: clean"
