#include "server/logging/logger.h"

#include <limits>
#include <string>
#include <thread>
#include <vector>

#include "absl/synchronization/notification.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

const absl::Time kTime = absl::FromUnixMillis(1777889472123);

TEST(LogLineTest, TextHasTimeLevelEventAndFields) {
  EXPECT_EQ(
      FormatLogLine(LogFormat::kText,
                    kTime,
                    LogLevel::kInfo,
                    "request_finished",
                    {{"request_id", "a-1"},
                     {"tokens", 17},
                     {"seconds", absl::Milliseconds(1500)},
                     {"ok", true},
                     {"name", "two words"}}),
      "2026-05-04T10:11:12.123Z info    request_finished request_id=a-1 tokens=17 seconds=1.5 "
      "ok=true name=\"two words\"");
}

TEST(LogLineTest, JsonParsesAndKeepsTypes) {
  const std::string line = FormatLogLine(LogFormat::kJson,
                                         kTime,
                                         LogLevel::kError,
                                         "event",
                                         {{"text", "quote \" slash \\ newline \n \x01\xff"},
                                          {"count", int64_t{1} << 40},
                                          {"ratio", 0.25},
                                          {"flag", false},
                                          {"nothing", std::numeric_limits<double>::quiet_NaN()}});
  const nlohmann::json parsed = nlohmann::json::parse(line);
  EXPECT_EQ(parsed["time"], "2026-05-04T10:11:12.123Z");
  EXPECT_EQ(parsed["level"], "error");
  EXPECT_EQ(parsed["event"], "event");
  EXPECT_EQ(parsed["count"], int64_t{1} << 40);
  EXPECT_EQ(parsed["ratio"], 0.25);
  EXPECT_EQ(parsed["flag"], false);
  EXPECT_TRUE(parsed["nothing"].is_null());
}

TEST(LogLineTest, ALineStaysALineWhateverIsInAField) {
  for (const LogFormat format : {LogFormat::kText, LogFormat::kJson}) {
    const std::string line = FormatLogLine(
        format, kTime, LogLevel::kInfo, "event", {{"id", "a\r\nb\x1b[31m\xe2\x80\xa8"}});
    for (const unsigned char c : line) EXPECT_TRUE(c >= 0x20 && c < 0x7f);
  }
}

TEST(LogLineTest, LongTextsAreCut) {
  const std::string line = FormatLogLine(
      LogFormat::kText, kTime, LogLevel::kInfo, "event", {{"text", std::string(1000, 'a')}});
  EXPECT_LT(line.size(), 320u);
  EXPECT_THAT(line, testing::HasSubstr("aaa..."));
}

TEST(LoggerTest, WritesInOrderWhatIsImportantEnough) {
  std::vector<std::string> lines;
  {
    Logger logger({.level = LogLevel::kWarning,
                   .sink = [&lines](const std::string& line) { lines.push_back(line); }});
    logger.Debug("one");
    logger.Info("two");
    logger.Warning("three");
    logger.Error("four");
    logger.Flush();
    EXPECT_EQ(lines.size(), 2u);
    logger.Error("five");
  }  // writes what waits
  ASSERT_EQ(lines.size(), 3u);
  EXPECT_THAT(lines[0], testing::HasSubstr("warning three"));
  EXPECT_THAT(lines[1], testing::HasSubstr("error   four"));
  EXPECT_THAT(lines[2], testing::HasSubstr("five"));
}

TEST(LoggerTest, AStuckSinkBlocksNobodyAndCostsTheOldestLines) {
  absl::Notification go_on;
  size_t num_written = 0;
  size_t num_dropped = 0;
  constexpr size_t kLines = 20000;
  {
    Logger logger({.sink = [&](const std::string&) {
      go_on.WaitForNotification();
      ++num_written;
    }});
    for (size_t i = 0; i < kLines; ++i) logger.Info("line");
    num_dropped = logger.num_dropped();
    go_on.Notify();
  }
  EXPECT_GT(num_dropped, 0u);
  EXPECT_EQ(num_written + num_dropped, kLines);
}

}  // namespace
}  // namespace parrot
