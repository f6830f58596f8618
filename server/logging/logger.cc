#include "server/logging/logger.h"

#include <atomic>
#include <cstdint>
#include <cstdio>
#include <utility>

#include "absl/synchronization/mutex.h"
#include "absl/time/clock.h"
#include "spdlog/async.h"
#include "spdlog/details/null_mutex.h"
#include "spdlog/sinks/base_sink.h"

namespace parrot {
namespace {

constexpr size_t kQueueLines = 8192;
constexpr absl::Duration kFlushTimeout = absl::Seconds(1);

void WriteToStderr(const std::string& line) {
  const std::string ended = line + "\n";
  std::fwrite(ended.data(), 1, ended.size(), stderr);
}

// Runs on the logger's thread, one line at a time.
class CountingSink : public spdlog::sinks::base_sink<spdlog::details::null_mutex> {
 public:
  explicit CountingSink(std::function<void(const std::string&)> write) : write_(std::move(write)) {}

  // False after `timeout`.
  bool WaitUntil(const std::function<bool(int64_t num_written)>& reached, absl::Duration timeout) {
    const auto is_reached = [&]() ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
      return reached(num_written_);
    };
    absl::MutexLock lock(&mutex_);
    return mutex_.AwaitWithTimeout(absl::Condition(&is_reached), timeout);
  }

 protected:
  void sink_it_(const spdlog::details::log_msg& message) override {
    write_(std::string(message.payload.data(), message.payload.size()));
    absl::MutexLock lock(&mutex_);
    ++num_written_;
  }
  void flush_() override {}

 private:
  const std::function<void(const std::string&)> write_;
  absl::Mutex mutex_;
  int64_t num_written_ ABSL_GUARDED_BY(mutex_) = 0;
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
  explicit Impl(std::function<void(const std::string&)> write)
      : pool_(std::make_shared<spdlog::details::thread_pool>(kQueueLines, /*threads_n=*/1)),
        sink_(std::make_shared<CountingSink>(write ? std::move(write) : WriteToStderr)),
        logger_(std::make_shared<spdlog::async_logger>(
            "parrot", sink_, pool_, spdlog::async_overflow_policy::overrun_oldest)) {
    logger_->set_level(spdlog::level::trace);
  }

  void Write(LogLevel level, const std::string& line) {
    num_submitted_.fetch_add(1);
    logger_->log(SpdlogLevel(level), spdlog::string_view_t(line));
  }
  void Flush() {
    const int64_t target = num_submitted_.load();
    sink_->WaitUntil(
        [&](int64_t num_written) {
          return num_written + static_cast<int64_t>(num_dropped()) >= target;
        },
        kFlushTimeout);
  }
  size_t num_dropped() const { return pool_->overrun_counter(); }

 private:
  // Joined when this object goes; what waits is written first.
  std::shared_ptr<spdlog::details::thread_pool> pool_;
  std::shared_ptr<CountingSink> sink_;  // and logger_
  std::shared_ptr<spdlog::async_logger> logger_;
  std::atomic<int64_t> num_submitted_{0};
};

Logger::Logger(LoggerOptions options)
    : level_(options.level),
      format_(options.format),
      impl_(std::make_unique<Impl>(std::move(options.sink))) {}

Logger::~Logger() = default;

void Logger::Log(LogLevel level, std::string_view event, const std::vector<LogField>& fields) {
  if (!enabled(level)) return;
  impl_->Write(level, FormatLogLine(format_, absl::Now(), level, event, fields));
}

void Logger::Flush() { impl_->Flush(); }

size_t Logger::num_dropped() const { return impl_->num_dropped(); }

}  // namespace parrot
