#include "server/logging/logger.h"

#include <mutex>
#include <utility>

#include "absl/time/clock.h"
#include "spdlog/async.h"
#include "spdlog/sinks/base_sink.h"
#include "spdlog/sinks/stdout_sinks.h"

namespace parrot {
namespace {

constexpr size_t kQueueLines = 8192;

class CallbackSink : public spdlog::sinks::base_sink<std::mutex> {
 public:
  explicit CallbackSink(std::function<void(const std::string&)> callback)
      : callback_(std::move(callback)) {}

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    callback_(std::string(message.payload.data(), message.payload.size()));
  }
  void flush_() override {}

 private:
  const std::function<void(const std::string&)> callback_;
};

spdlog::level::level_enum SpdlogLevel(LogLevel level) {
  switch (level) {
    case LogLevel::kDebug:
      return spdlog::level::debug;
    case LogLevel::kInfo:
      return spdlog::level::info;
    case LogLevel::kWarning:
      return spdlog::level::warn;
    case LogLevel::kError:
      return spdlog::level::err;
  }
  return spdlog::level::err;
}

}  // namespace

class Logger::Impl {
 public:
  explicit Impl(LoggerOptions options)
      : pool_(std::make_shared<spdlog::details::thread_pool>(kQueueLines, /*threads_n=*/1)) {
    spdlog::sink_ptr sink;
    if (options.sink) {
      sink = std::make_shared<CallbackSink>(std::move(options.sink));
    } else {
      sink = std::make_shared<spdlog::sinks::stderr_sink_mt>();
    }
    logger_ = std::make_shared<spdlog::async_logger>(
        "parrot", std::move(sink), pool_, spdlog::async_overflow_policy::overrun_oldest);
    logger_->set_level(spdlog::level::trace);
    logger_->set_pattern("%v");
    logger_->flush_on(spdlog::level::info);
  }

  void Write(LogLevel level, const std::string& line) {
    logger_->log(SpdlogLevel(level), spdlog::string_view_t(line));
  }
  size_t num_dropped() const { return pool_->overrun_counter(); }

 private:
  // Joined when the last owner goes: this object and the messages that wait.
  std::shared_ptr<spdlog::details::thread_pool> pool_;
  std::shared_ptr<spdlog::async_logger> logger_;
};

Logger::Logger(LoggerOptions options)
    : level_(options.level),
      format_(options.format),
      impl_(std::make_unique<Impl>(std::move(options))) {}

Logger::~Logger() = default;

void Logger::Log(LogLevel level, std::string_view event, const std::vector<LogField>& fields) {
  if (!enabled(level)) return;
  impl_->Write(level, FormatLogLine(format_, absl::Now(), level, event, fields));
}

size_t Logger::num_dropped() const { return impl_->num_dropped(); }

}  // namespace parrot
