#include "server/frontend/language_lock_check.h"

#include <array>
#include <cstdint>
#include <string_view>
#include <utility>

#include "absl/strings/str_cat.h"
#include "base/status_macros.h"
#include "server/frontend/metrics.h"
#include "server/frontend/option_checks.h"

namespace parrot {
namespace {

constexpr float kDefaultBias = 10.0f;
constexpr size_t kMaxShownLanguageBytes = 16;
constexpr char kLanguages[] = "en, zh, pt, ar, tr or ru";
constexpr std::array<std::pair<std::string_view, Script>, 6> kScripts = {{
    {"en", Script::kLatin},
    {"zh", Script::kHan},
    {"pt", Script::kLatin},
    {"ar", Script::kArabic},
    {"tr", Script::kLatin},
    {"ru", Script::kCyrillic},
}};

}  // namespace

absl::Status CheckLanguageLock(const LanguageLockSpec& spec,
                               float max_bias,
                               LanguageLock* lock,
                               std::string* language) {
  const std::string tag = spec.language.value_or("");
  const std::string_view label = Metrics::LanguageLabel(tag);
  *lock = LanguageLock();
  language->clear();
  for (const auto& [name, script] : kScripts) {
    if (name != label) continue;
    lock->script = script;
    *language = name;
  }
  if (language->empty()) {
    return InvalidOption("LOCK_LANGUAGE",
                         "language_lock.language",
                         absl::StrCat("must be ", kLanguages),
                         Printable(tag, kMaxShownLanguageBytes),
                         kLanguages);
  }
  switch (spec.mode.value_or(LockModeSpec::kUnspecified)) {
    case LockModeSpec::kUnspecified:
    case LockModeSpec::kHard:
      if (!spec.bias.has_value()) return absl::OkStatus();
      return InvalidOption(
          "CONFLICTING_OPTIONS", "language_lock.bias", "not allowed with a hard lock");
    case LockModeSpec::kSoft:
      RETURN_IF_ERROR(CheckRange(
          "language_lock.bias", spec.bias, {.min = 0.0f, .max = max_bias, .min_excluded = true}));
      lock->blocked_bias = -spec.bias.value_or(kDefaultBias);
      return absl::OkStatus();
  }
  return InvalidOption("UNKNOWN_ENUM",
                       "language_lock.mode",
                       "unknown value",
                       absl::StrCat(static_cast<int32_t>(*spec.mode)));
}

}  // namespace parrot
