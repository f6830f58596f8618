#include "server/options/human_units.h"

#include <array>
#include <cctype>
#include <cmath>
#include <limits>
#include <utility>

#include "absl/status/status.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_cat.h"
#include "base/status_macros.h"

namespace parrot {
namespace {

constexpr int64_t kBinary = 1024;

// 0 when `unit` is none.
int64_t UnitFactor(const std::string& unit) {
  constexpr std::array<std::pair<const char*, int>, 4> kDecimal = {
      {{"k", 1}, {"m", 2}, {"g", 3}, {"t", 4}}};
  constexpr std::array<std::pair<const char*, int>, 4> kCapital = {
      {{"K", 1}, {"M", 2}, {"G", 3}, {"T", 4}}};
  const auto power = [](int64_t base, int exponent) {
    int64_t value = 1;
    for (int i = 0; i < exponent; ++i) value *= base;
    return value;
  };
  if (unit.empty() || unit == "B") return 1;
  if (unit == "kB") return 1000;
  for (const auto& [name, exponent] : kDecimal) {
    if (unit == name) return power(1000, exponent);
  }
  for (const auto& [name, exponent] : kCapital) {
    const std::string letter = name;
    if (unit == letter || unit == letter + "i" || unit == letter + "iB") {
      return power(kBinary, exponent);
    }
    if (unit == letter + "B") return power(1000, exponent);
  }
  return 0;
}

absl::Status BadSize(const std::string& text) {
  return absl::InvalidArgumentError(
      absl::StrCat("'", text.substr(0, 64), "' is not a size (examples: 4096, 16k, 4GiB)"));
}

}  // namespace

absl::StatusOr<int64_t> ParseSize(const std::string& text) {
  size_t digits = 0;
  while (digits < text.size() &&
         (std::isdigit(static_cast<unsigned char>(text[digits])) || text[digits] == '.')) {
    ++digits;
  }
  const std::string number = text.substr(0, digits);
  const int64_t factor = UnitFactor(text.substr(digits));
  if (number.empty() || factor == 0) return BadSize(text);
  int64_t whole = 0;
  if (absl::SimpleAtoi(number, &whole)) {
    if (whole > std::numeric_limits<int64_t>::max() / factor) return BadSize(text);
    return whole * factor;
  }
  double value = 0;
  if (factor == 1 || !absl::SimpleAtod(number, &value)) return BadSize(text);
  value *= static_cast<double>(factor);
  // 2^63 as a double; anything below it converts without overflow.
  if (!(value >= 0 && value < 9223372036854775808.0)) return BadSize(text);
  return std::llround(value);
}

std::string FormatSize(int64_t bytes) {
  constexpr std::array<const char*, 4> kUnits = {"TiB", "GiB", "MiB", "KiB"};
  int64_t factor = kBinary * kBinary * kBinary * kBinary;
  for (const char* unit : kUnits) {
    // One KiB stays "1024": token counts such as 1024 are read more easily as they are.
    if (bytes != 0 && bytes % factor == 0 && factor > kBinary) {
      return absl::StrCat(bytes / factor, unit);
    }
    factor /= kBinary;
  }
  return absl::StrCat(bytes);
}

absl::StatusOr<absl::Duration> ParseHumanDuration(const std::string& text) {
  absl::Duration duration;
  double seconds = 0;
  if (absl::SimpleAtod(text, &seconds)) {
    duration = absl::Seconds(seconds);
  } else if (!absl::ParseDuration(text, &duration)) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text.substr(0, 64), "' is not a duration (examples: 120s, 1m30s, 50ms)"));
  }
  if (duration < absl::ZeroDuration() || duration == absl::InfiniteDuration()) {
    return absl::InvalidArgumentError(
        absl::StrCat("'", text.substr(0, 64), "' is not a finite, non-negative duration"));
  }
  return duration;
}

std::string FormatHumanDuration(absl::Duration duration) {
  const int64_t ms = absl::ToInt64Milliseconds(duration);
  return ms % 1000 == 0 ? absl::StrCat(ms / 1000, "s") : absl::StrCat(ms, "ms");
}

}  // namespace parrot
