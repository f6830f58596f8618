#include <fstream>
#include <string>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "client/bench/bench_report.h"

namespace parrot {

absl::StatusOr<BenchFormat> BenchFormatOf(const std::string& path) {
  if (path.ends_with(".json")) return BenchFormat::kJson;
  if (path.ends_with(".csv")) return BenchFormat::kCsv;
  if (path.ends_with(".html")) return BenchFormat::kHtml;
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     "a result file ends in .json, .csv or .html",
                     {.reason = "UNKNOWN_RESULT_FORMAT", .limit = ".json, .csv, .html"});
}

absl::Status SaveReport(const BenchReport& report, bool detailed, const std::string& path) {
  ASSIGN_OR_RETURN(const BenchFormat format, BenchFormatOf(path));
  std::string text;
  switch (format) {
    case BenchFormat::kJson:
      text = BenchJson(report, detailed);
      break;
    case BenchFormat::kCsv:
      text = BenchCsv(report);
      break;
    case BenchFormat::kHtml:
      text = BenchHtml(report);
      break;
  }
  std::ofstream file(path, std::ios::binary | std::ios::trunc);
  file << text;
  file.close();
  if (file.good()) return absl::OkStatus();
  return ErrorStatus(absl::StatusCode::kUnavailable,
                     absl::StrCat("cannot write ", path),
                     {.reason = "FILE_NOT_WRITTEN"});
}

}  // namespace parrot
