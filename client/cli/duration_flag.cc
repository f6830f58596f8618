#include "client/cli/duration_flag.h"

#include "CLI/CLI.hpp"
#include "absl/strings/numbers.h"

namespace parrot {
namespace {

bool ParseDurationFlag(const std::string& text, absl::Duration* duration) {
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) {
    *duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, duration)) {
    return false;
  }
  return *duration > absl::ZeroDuration();
}

}  // namespace

void AddDurationFlag(CLI::App* app,
                     const std::string& name,
                     std::optional<absl::Duration>* target,
                     const std::string& help) {
  app->add_option_function<std::string>(
         name,
         [target, name](const std::string& text) {
           absl::Duration duration;
           if (!ParseDurationFlag(text, &duration)) {
             throw CLI::ValidationError(name, "'" + text + "' is not a duration such as 90s or 2m");
           }
           *target = duration;
         },
         help)
      ->type_name("DURATION");
}

}  // namespace parrot
