// A flag whose value is a duration: "90s", "1.5m", "200ms", a number of seconds, "inf".
#ifndef PARROT_CLIENT_CLI_DURATION_FLAG_H_
#define PARROT_CLIENT_CLI_DURATION_FLAG_H_

#include <optional>
#include <string>

#include "absl/time/time.h"

namespace CLI {
class App;
}

namespace parrot {

// `target` outlives `app`; only positive durations are taken.
void AddDurationFlag(CLI::App* app,
                     const std::string& name,
                     std::optional<absl::Duration>* target,
                     const std::string& help);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_DURATION_FLAG_H_
