// Structured log lines: an event name and fields, as text or as JSON. Fields are ids, counts, times
// and fixed words; never user text, file contents, keys or pointers. Thread-safe (pure functions).
//
//   text  2026-05-04T10:11:12.123Z info  request_finished request_id=7f3a code=OK tokens=17
//   json  {"time":"2026-05-04T10:11:12.123Z","level":"info","event":"request_finished",...}
#ifndef PARROT_SERVER_LOGGING_LOG_LINE_H_
#define PARROT_SERVER_LOGGING_LOG_LINE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <type_traits>
#include <variant>
#include <vector>

#include "absl/time/time.h"

namespace parrot {

enum class LogLevel { kDebug, kInfo, kWarning, kError };
enum class LogFormat { kText, kJson };

// One "name=value". Texts are cut at 256 bytes, and everything in them that is not printable ASCII
// is escaped, so that a line stays a line.
struct LogField {
  using Value = std::variant<int64_t, double, bool, std::string>;

  LogField(std::string_view field_name, std::string_view text)
      : name(field_name), value(std::string(text)) {}
  LogField(std::string_view field_name, const char* text)
      : LogField(field_name, std::string_view(text)) {}
  LogField(std::string_view field_name, const std::string& text)
      : LogField(field_name, std::string_view(text)) {}
  LogField(std::string_view field_name, bool flag) : name(field_name), value(flag) {}
  // Seconds.
  LogField(std::string_view field_name, absl::Duration duration)
      : name(field_name), value(absl::ToDoubleSeconds(duration)) {}
  template <typename Number, typename = std::enable_if_t<std::is_arithmetic_v<Number>>>
  LogField(std::string_view field_name, Number number) : name(field_name) {
    if constexpr (std::is_floating_point_v<Number>) {
      value = static_cast<double>(number);
    } else {
      value = static_cast<int64_t>(number);
    }
  }

  std::string name;  // snake_case; a fixed word of the source
  Value value;
};

std::string FormatLogLine(LogFormat format,
                          absl::Time time,
                          LogLevel level,
                          std::string_view event,
                          const std::vector<LogField>& fields);

// "debug", "info", "warning", "error".
const char* LogLevelName(LogLevel level);

}  // namespace parrot

#endif  // PARROT_SERVER_LOGGING_LOG_LINE_H_
