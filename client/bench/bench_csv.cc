#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"
#include "absl/strings/str_join.h"
#include "absl/strings/str_replace.h"
#include "client/bench/bench_report.h"
#include "client/reply_names.h"

namespace parrot {
namespace {

// Empty when no answer came to its end.
std::string FinishReasonOf(const RequestSample& sample) {
  const bool is_known = sample.finish_reason != v1::FINISH_REASON_UNSPECIFIED;
  return is_known ? FinishReasonName(sample.finish_reason) : "";
}

// RFC 4180. A leading character that spreadsheets would take for a formula is shown as text.
std::string Quoted(std::string text) {
  if (!text.empty() && std::string_view("=+-@\t\r").find(text[0]) != std::string_view::npos) {
    text.insert(text.begin(), '\'');
  }
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  return absl::StrCat("\"", absl::StrReplaceAll(text, {{"\"", "\"\""}}), "\"");
}

std::string Milliseconds(std::optional<absl::Duration> duration) {
  return duration.has_value() ? absl::StrFormat("%.3f", absl::ToDoubleMilliseconds(*duration)) : "";
}

std::string Seconds(absl::Duration duration) {
  return absl::StrFormat("%.6f", absl::ToDoubleSeconds(duration));
}

const char* OutcomeName(RequestOutcome outcome) {
  switch (outcome) {
    case RequestOutcome::kCompleted:
      return "completed";
    case RequestOutcome::kFailed:
      return "failed";
    case RequestOutcome::kInterrupted:
      return "interrupted";
  }
  return "";
}

std::string Header() {
  std::vector<std::string> names = {
      "ordinal",       "request_id",    "language",      "images",        "outcome",
      "error_code",    "error_reason",  "error",         "finish_reason", "scheduled_s",
      "sent_s",        "end_s",         "ttft_ms",       "tpot_ms",       "e2el_ms",
      "prompt_tokens", "cached_tokens", "output_tokens", "characters",    "cache_levels"};
  for (const auto& [stage, seconds] : StageSeconds({})) {
    names.push_back(absl::StrCat("server_", stage, "_ms"));
  }
  return absl::StrJoin(names, ",");
}

std::string Row(const RequestSample& sample) {
  std::vector<const char*> levels;
  for (const v1::CacheLevel level : sample.cache_levels) levels.push_back(CacheLevelName(level));
  std::vector<std::string> fields = {absl::StrCat(sample.ordinal),
                                     Quoted(sample.request_id),
                                     Quoted(sample.language),
                                     absl::StrCat(sample.num_images),
                                     OutcomeName(sample.outcome),
                                     sample.error_code,
                                     Quoted(sample.error_reason),
                                     Quoted(sample.error_message),
                                     FinishReasonOf(sample),
                                     Seconds(sample.scheduled),
                                     Seconds(sample.sent),
                                     Seconds(sample.end),
                                     Milliseconds(TimeToFirstToken(sample)),
                                     Milliseconds(TimePerOutputToken(sample)),
                                     Milliseconds(EndToEndLatency(sample)),
                                     absl::StrCat(sample.usage.prompt_tokens()),
                                     absl::StrCat(sample.usage.cached_tokens()),
                                     absl::StrCat(OutputTokens(sample)),
                                     absl::StrCat(sample.num_characters),
                                     absl::StrJoin(levels, " ")};
  for (const auto& [stage, seconds] : StageSeconds(sample.timings)) {
    fields.push_back(absl::StrFormat("%.3f", seconds * 1e3));
  }
  return absl::StrJoin(fields, ",");
}

}  // namespace

std::string BenchCsv(const BenchReport& report) {
  std::string text = absl::StrCat(Header(), "\n");
  for (const RequestSample& sample : report.result.samples) {
    absl::StrAppend(&text, Row(sample), "\n");
  }
  return text;
}

}  // namespace parrot
