#include "server/frontend/option_checks.h"

#include <cstddef>
#include <utility>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"

namespace parrot {

absl::Status InvalidOption(std::string_view reason,
                           std::string_view field,
                           std::string_view rule,
                           std::string value,
                           std::string limit) {
  const absl::Status status = ErrorStatus(
      absl::StatusCode::kInvalidArgument,
      rule,
      {.reason = std::string(reason), .value = std::move(value), .limit = std::move(limit)});
  return WithField(status, field);
}

absl::Status UnsupportedOption(std::string_view field) {
  const absl::Status status = ErrorStatus(absl::StatusCode::kUnimplemented,
                                          "not supported by this server",
                                          {.reason = "UNSUPPORTED_OPTION"});
  return WithField(status, field);
}

absl::Status CheckRange(std::string_view field,
                        const std::optional<float>& value,
                        const FloatRange& range) {
  if (!value.has_value()) return absl::OkStatus();
  const bool above_min = range.min_excluded ? *value > range.min : *value >= range.min;
  if (above_min && *value <= range.max) return absl::OkStatus();  // false for NaN
  const std::string limit =
      absl::StrCat(range.min_excluded ? "(" : "[", range.min, ", ", range.max, "]");
  return InvalidOption("OUT_OF_RANGE", field, "must be in " + limit, absl::StrCat(*value), limit);
}

absl::Status CheckRange(std::string_view field,
                        const std::optional<int64_t>& value,
                        int64_t min,
                        int64_t max) {
  if (!value.has_value() || (*value >= min && *value <= max)) return absl::OkStatus();
  const std::string limit = absl::StrCat("[", min, ", ", max, "]");
  return InvalidOption("OUT_OF_RANGE", field, "must be in " + limit, absl::StrCat(*value), limit);
}

std::string Printable(std::string_view text, size_t max_bytes) {
  std::string result(text.substr(0, max_bytes));
  for (char& c : result) {
    if (!absl::ascii_isprint(static_cast<unsigned char>(c))) c = '?';
  }
  return result;
}

std::string Indexed(std::string_view field, size_t idx) {
  return std::string(field) + "[" + std::to_string(idx) + "]";
}

}  // namespace parrot
