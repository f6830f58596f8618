// The building blocks of the Validator: range checks whose errors are all worded and typed alike.
// Pure functions.
#ifndef PARROT_SERVER_FRONTEND_OPTION_CHECKS_H_
#define PARROT_SERVER_FRONTEND_OPTION_CHECKS_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "absl/status/status.h"

namespace parrot {

// INVALID_ARGUMENT with all facts. The message is "field: rule".
absl::Status InvalidOption(std::string_view reason,
                           std::string_view field,
                           std::string_view rule,
                           std::string value = "",
                           std::string limit = "");
// UNIMPLEMENTED: the API has the option, this server does not.
absl::Status UnsupportedOption(std::string_view field);

struct FloatRange {
  float min = 0.0f;
  float max = 0.0f;
  bool min_excluded = false;
};
// OUT_OF_RANGE unless absent or finite and in the range; NaN is in none.
absl::Status CheckRange(std::string_view field,
                        const std::optional<float>& value,
                        const FloatRange& range);
absl::Status CheckRange(std::string_view field,
                        const std::optional<int64_t>& value,
                        int64_t min,
                        int64_t max);

// The first `max_bytes` bytes of `text`, anything but printable ASCII replaced by '?'.
std::string Printable(std::string_view text, size_t max_bytes);

// "messages[3]"
std::string Indexed(std::string_view field, size_t idx);

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_OPTION_CHECKS_H_
