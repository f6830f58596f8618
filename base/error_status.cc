#include "base/error_status.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <vector>

#include "absl/strings/cord.h"
#include "absl/strings/numbers.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_split.h"
#include "base/check.h"

namespace parrot {
namespace {

constexpr char kPayloadUrl[] = "parrot/error-facts";
// Unit separator: the parts are printable text, so it cannot occur in them.
constexpr char kSeparator = '\x1f';
// Those before the subjects.
constexpr size_t kNumSingleFacts = 5;

absl::string_view ToAbsl(std::string_view s) { return {s.data(), s.size()}; }

}  // namespace

absl::Status ErrorStatus(absl::StatusCode code, std::string_view message, const ErrorFacts& facts) {
  PARROT_CHECK(code != absl::StatusCode::kOk);
  absl::Status status(code, ToAbsl(message));
  std::vector<std::string> parts = {facts.reason,
                                    facts.field,
                                    facts.value,
                                    facts.limit,
                                    std::to_string(absl::ToInt64Milliseconds(facts.retry_after))};
  parts.insert(parts.end(), facts.subjects.begin(), facts.subjects.end());
  status.SetPayload(kPayloadUrl, absl::Cord(absl::StrJoin(parts, std::string(1, kSeparator))));
  return status;
}

ErrorFacts GetErrorFacts(const absl::Status& status) {
  ErrorFacts facts;
  const absl::optional<absl::Cord> payload = status.GetPayload(kPayloadUrl);
  if (!payload.has_value()) return facts;
  const std::string flat(*payload);
  const std::vector<std::string> parts = absl::StrSplit(flat, kSeparator);
  if (parts.size() < kNumSingleFacts) return facts;
  facts.reason = parts[0];
  facts.field = parts[1];
  facts.value = parts[2];
  facts.limit = parts[3];
  int64_t retry_after_ms = 0;
  if (absl::SimpleAtoi(parts[4], &retry_after_ms)) {
    facts.retry_after = absl::Milliseconds(retry_after_ms);
  }
  facts.subjects.assign(parts.begin() + kNumSingleFacts, parts.end());
  return facts;
}

absl::Status WithField(const absl::Status& status, std::string_view field) {
  if (status.ok()) return status;
  ErrorFacts facts = GetErrorFacts(status);
  std::string message(status.message().data(), status.message().size());
  if (facts.field.empty()) {
    facts.field = std::string(field);
    message = facts.field + ": " + message;
  } else {
    const std::string prefix = std::string(field) + (facts.field.front() == '[' ? "" : ".");
    facts.field = prefix + facts.field;
    message = prefix + message;
  }
  return ErrorStatus(status.code(), message, facts);
}

}  // namespace parrot
