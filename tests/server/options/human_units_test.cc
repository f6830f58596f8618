#include "server/options/human_units.h"

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "gtest/gtest.h"

namespace parrot {
namespace {

TEST(HumanUnitsTest, SizesTakeDecimalAndBinaryUnits) {
  const std::vector<std::pair<std::string, int64_t>> cases = {
      {"0", 0},
      {"4096", 4096},
      {"16k", 16000},
      {"16K", 16384},
      {"16Ki", 16384},
      {"16KiB", 16384},
      {"16kB", 16000},
      {"16KB", 16000},
      {"1.5k", 1500},
      {"2m", 2000000},
      {"2M", 2097152},
      {"4GiB", int64_t{4} << 30},
      {"4GB", 4000000000},
      {"0.5GiB", int64_t{1} << 29},
      {"1T", int64_t{1} << 40},
      {"7B", 7},
      {"9223372036854775807", INT64_MAX},
  };
  for (const auto& [text, value] : cases) {
    const auto parsed = ParseSize(text);
    ASSERT_TRUE(parsed.ok()) << text;
    EXPECT_EQ(*parsed, value) << text;
  }
}

TEST(HumanUnitsTest, WhatIsNoSizeIsRefused) {
  for (const char* text : {"",
                           "k",
                           "-1",
                           "1.5",
                           "16 k",
                           "16x",
                           "1e3",
                           "0x10",
                           "1.2.3k",
                           "nan",
                           "9223372036854775808",
                           "9223372036854775807k",
                           "1e30T",
                           "99999999T"}) {
    EXPECT_FALSE(ParseSize(text).ok()) << text;
  }
}

TEST(HumanUnitsTest, AFormattedSizeIsReadBack) {
  for (const int64_t value : {int64_t{0},
                              int64_t{1},
                              int64_t{1024},
                              int64_t{1} << 20,
                              int64_t{3} << 30,
                              int64_t{1000},
                              (int64_t{1} << 30) + 1,
                              INT64_MAX}) {
    EXPECT_EQ(*ParseSize(FormatSize(value)), value) << FormatSize(value);
  }
  EXPECT_EQ(FormatSize(int64_t{2} << 30), "2GiB");
  EXPECT_EQ(FormatSize(1024), "1024");
}

TEST(HumanUnitsTest, DurationsTakeUnitsAndPlainSeconds) {
  EXPECT_EQ(*ParseHumanDuration("120s"), absl::Seconds(120));
  EXPECT_EQ(*ParseHumanDuration("1m30s"), absl::Seconds(90));
  EXPECT_EQ(*ParseHumanDuration("50ms"), absl::Milliseconds(50));
  EXPECT_EQ(*ParseHumanDuration("90"), absl::Seconds(90));
  EXPECT_EQ(*ParseHumanDuration("0"), absl::ZeroDuration());
  EXPECT_EQ(*ParseHumanDuration("2h"), absl::Hours(2));
}

TEST(HumanUnitsTest, WhatIsNoDurationIsRefused) {
  for (const char* text : {"", "s", "-1s", "-5", "1d", "inf", "nan", "12 s", "soon"}) {
    EXPECT_FALSE(ParseHumanDuration(text).ok()) << text;
  }
}

TEST(HumanUnitsTest, AFormattedDurationIsReadBack) {
  EXPECT_EQ(FormatHumanDuration(absl::Minutes(2)), "120s");
  EXPECT_EQ(FormatHumanDuration(absl::Milliseconds(1500)), "1500ms");
  EXPECT_EQ(FormatHumanDuration(absl::ZeroDuration()), "0s");
  EXPECT_EQ(*ParseHumanDuration(FormatHumanDuration(absl::Hours(3))), absl::Hours(3));
}

}  // namespace
}  // namespace parrot
