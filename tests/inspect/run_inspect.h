// Runs the parrot-inspect binary, for its tests.
#ifndef PARROT_TESTS_INSPECT_RUN_INSPECT_H_
#define PARROT_TESTS_INSPECT_RUN_INSPECT_H_

#include <string>
#include <string_view>
#include <vector>

namespace parrot {

struct InspectResult {
  int exit_code = -1;  // -1: ended by a signal
  std::string out;
  std::string err;
};

// Waits until it has ended. `input` is its standard input.
InspectResult RunInspect(const std::vector<std::string>& arguments, std::string_view input = {});

}  // namespace parrot

#endif  // PARROT_TESTS_INSPECT_RUN_INSPECT_H_
