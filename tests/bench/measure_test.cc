#include "bench/measure/measure.h"

#include <gtest/gtest.h>

#include <vector>

namespace parrot {
namespace {

TEST(SpreadTest, IsTheSmallestTheMiddleAndTheLargest) {
  const Spread odd = SpreadOf({3.0, 1.0, 2.0});
  EXPECT_EQ(odd.minimum, 1.0);
  EXPECT_EQ(odd.median, 2.0);
  EXPECT_EQ(odd.maximum, 3.0);
  EXPECT_EQ(SpreadOf({4.0, 2.0}).median, 2.0);
  EXPECT_EQ(SpreadOf({7.0}).median, 7.0);
}

TEST(RepeatTest, SpreadsEachValueOverTheRepeats) {
  int calls = 0;
  const Repeated repeated = Repeat({.repeats = 3, .max_extra = 0}, [&] {
    ++calls;
    return std::vector<double>{1.0 * calls, 10.0 * calls};
  });
  EXPECT_EQ(calls, 3);
  ASSERT_EQ(repeated.values.size(), 2u);
  EXPECT_EQ(repeated.values[0].maximum, 3.0);
  EXPECT_EQ(repeated.values[1].minimum, 10.0);
  EXPECT_EQ(repeated.values[1].median, 20.0);
}

TEST(RepeatTest, RunsOftenerOnlyForDisturbedRepeats) {
  int calls = 0;
  const Repeated repeated = Repeat({.repeats = 2, .max_extra = 3}, [&] {
    ++calls;
    return std::vector<double>{0.0};
  });
  EXPECT_GE(calls, 2);
  EXPECT_LE(calls, 5);
  EXPECT_TRUE(!repeated.disturbed || calls == 5);
}

}  // namespace
}  // namespace parrot
