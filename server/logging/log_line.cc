#include "server/logging/log_line.h"

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace parrot {
namespace {

constexpr size_t kMaxTextBytes = 256;

std::string Escaped(const std::string& text) {
  std::string out;
  const size_t size = text.size() < kMaxTextBytes ? text.size() : kMaxTextBytes;
  for (size_t i = 0; i < size; ++i) {
    const unsigned char c = static_cast<unsigned char>(text[i]);
    if (c == '"' || c == '\\') {
      out += '\\';
      out += static_cast<char>(c);
    } else if (c >= 0x20 && c < 0x7f) {
      out += static_cast<char>(c);
    } else {
      absl::StrAppendFormat(&out, "\\u%04x", c);
    }
  }
  if (size < text.size()) out += "...";
  return out;
}

bool NeedsQuotes(const std::string& text) {
  for (const char c : text) {
    if (c <= ' ' || c >= 0x7f || c == '"' || c == '\\' || c == '=') return true;
  }
  return text.empty();
}

std::string ValueText(const LogField::Value& value, LogFormat format) {
  if (const int64_t* number = std::get_if<int64_t>(&value)) return absl::StrCat(*number);
  if (const bool* flag = std::get_if<bool>(&value)) return *flag ? "true" : "false";
  if (const double* number = std::get_if<double>(&value)) {
    // JSON knows neither NaN nor infinity.
    const bool is_finite = *number - *number == 0.0;
    return is_finite ? absl::StrFormat("%.6g", *number) : "null";
  }
  const std::string& text = std::get<std::string>(value);
  if (format == LogFormat::kText && !NeedsQuotes(text) && text.size() <= kMaxTextBytes) return text;
  return absl::StrCat("\"", Escaped(text), "\"");
}

}  // namespace

const char* LogLevelName(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return "debug";
    case LogLevel::kInfo:
      return "info";
    case LogLevel::kWarning:
      return "warning";
    case LogLevel::kError:
      return "error";
  }
  return "error";
}

std::string FormatLogLine(LogFormat format,
                          absl::Time time,
                          LogLevel level,
                          std::string_view event,
                          const std::vector<LogField>& fields) {
  const std::string stamp = absl::FormatTime("%Y-%m-%dT%H:%M:%E3SZ", time, absl::UTCTimeZone());
  const std::string event_text(event);
  std::string line;
  if (format == LogFormat::kText) {
    line = absl::StrFormat("%s %-7s %s", stamp, LogLevelName(level), event_text);
    for (const LogField& field : fields) {
      absl::StrAppend(&line, " ", field.name, "=", ValueText(field.value, format));
    }
    return line;
  }
  line = absl::StrCat("{\"time\":\"",
                      stamp,
                      "\",\"level\":\"",
                      LogLevelName(level),
                      "\",\"event\":\"",
                      Escaped(event_text),
                      "\"");
  for (const LogField& field : fields) {
    absl::StrAppend(&line, ",\"", Escaped(field.name), "\":", ValueText(field.value, format));
  }
  return line + "}";
}

}  // namespace parrot
