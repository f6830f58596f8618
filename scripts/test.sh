#!/usr/bin/env bash
# Installs what is missing, lints, builds and runs all tests. Ends with the counts.
#   scripts/test.sh              everything, as CI does
#   scripts/test.sh fast         the release build's tests of label `fast` alone
source "$(dirname "${BASH_SOURCE[0]}")/lib.sh"

mode=${1:-all}
[[ $mode =~ ^(all|fast)$ ]] || die "usage: test.sh [fast]"
results=$PARROT_ROOT/build/test-results
rm -rf "$results"

# run_preset PRESET [ctest arguments]: builds, runs, leaves one XML file per test binary.
run_preset() {
  local preset=$1
  shift
  configure_preset "$preset"
  say "building preset $preset"
  cmake --build --preset "$preset" >&2
  mkdir -p "$results/$preset"
  say "testing preset $preset"
  GTEST_OUTPUT="xml:$results/$preset/" ctest --preset "$preset" -j "$CMAKE_BUILD_PARALLEL_LEVEL" \
    --output-junit "$results/$preset.ctest.xml" "$@" >&2 || failed+=("$preset")
}

failed=()
"$PARROT_ROOT/scripts/install_deps.sh" --test
if [ "$mode" = fast ]; then
  run_preset release -L fast
else
  "$PARROT_ROOT/scripts/lint.sh" || failed+=(lint)
  run_preset release
  run_preset asan
  run_preset tsan
fi
say "done"
python3 "$PARROT_ROOT/scripts/summarize_tests.py" "$results" || failed+=(summary)
[ ${#failed[@]} -eq 0 ] || die "failed: ${failed[*]}"
