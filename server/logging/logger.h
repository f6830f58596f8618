// Logger: where log lines go. Lines are handed to a thread of its own, so that a slow or blocked
// stderr never delays a request; when more than 8,192 lines wait, the oldest are dropped and
// counted.
//
//   Logger logger({.level = LogLevel::kInfo, .format = LogFormat::kJson});
//   logger.Info("request_finished", {{"request_id", id}, {"tokens", 17}});
#ifndef PARROT_SERVER_LOGGING_LOGGER_H_
#define PARROT_SERVER_LOGGING_LOGGER_H_

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "server/logging/log_line.h"

namespace parrot {

struct LoggerOptions {
  LogLevel level = LogLevel::kInfo;
  LogFormat format = LogFormat::kText;
  // Takes each line, without its end; null: stderr. Runs on the logger's thread.
  std::function<void(const std::string& line)> sink;
};

// Thread-safe.
class Logger {
 public:
  explicit Logger(LoggerOptions options);
  // Writes what still waits.
  ~Logger();
  Logger(const Logger&) = delete;
  Logger& operator=(const Logger&) = delete;

  void Log(LogLevel level, std::string_view event, const std::vector<LogField>& fields = {});
  void Debug(std::string_view event, const std::vector<LogField>& fields = {}) {
    Log(LogLevel::kDebug, event, fields);
  }
  void Info(std::string_view event, const std::vector<LogField>& fields = {}) {
    Log(LogLevel::kInfo, event, fields);
  }
  void Warning(std::string_view event, const std::vector<LogField>& fields = {}) {
    Log(LogLevel::kWarning, event, fields);
  }
  void Error(std::string_view event, const std::vector<LogField>& fields = {}) {
    Log(LogLevel::kError, event, fields);
  }
  // Blocks until what was logged before is written; a second at most.
  void Flush();
  bool enabled(LogLevel level) const { return level >= level_; }
  // Lines dropped since the start.
  size_t num_dropped() const;

 private:
  class Impl;
  const LogLevel level_;
  const LogFormat format_;
  std::unique_ptr<Impl> impl_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_LOGGING_LOGGER_H_
