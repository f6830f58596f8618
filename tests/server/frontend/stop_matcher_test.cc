// Stop strings: against a naive search, whatever the cuts.
#include "server/frontend/stop_matcher.h"

#include <algorithm>
#include <cstdint>
#include <optional>
#include <random>
#include <string>
#include <string_view>
#include <vector>

#include "absl/strings/str_join.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using Match = StopMatcher::Match;

// The first end at which a stop string ends, and the longest of those that do.
std::optional<Match> NaiveSearch(const std::string& text, const std::vector<std::string>& stops) {
  for (size_t end = 1; end <= text.size(); ++end) {
    std::optional<Match> match;
    for (size_t i = 0; i < stops.size(); ++i) {
      if (!text.substr(0, end).ends_with(stops[i])) continue;
      const size_t begin = end - stops[i].size();
      if (!match.has_value() || begin < match->begin) match = {begin, end, i};
    }
    if (match.has_value()) return match;
  }
  return std::nullopt;
}

// The longest end of the text that is the beginning of a stop string.
size_t NaiveHeld(const std::string& text, const std::vector<std::string>& stops) {
  size_t held = 0;
  for (const std::string& stop : stops) {
    for (size_t length = 1; length < stop.size() && length <= text.size(); ++length) {
      if (text.ends_with(stop.substr(0, length))) held = std::max(held, length);
    }
  }
  return held;
}

void ExpectMatch(const std::optional<Match>& match, const std::optional<Match>& expected) {
  ASSERT_EQ(match.has_value(), expected.has_value());
  if (!match.has_value()) return;
  EXPECT_EQ(match->begin, expected->begin);
  EXPECT_EQ(match->end, expected->end);
  EXPECT_EQ(match->stop_idx, expected->stop_idx);
}

TEST(StopMatcherTest, HoldsBackWhatMayBecomeAStopString) {
  StopMatcher matcher({"END", "\n\n"});
  EXPECT_FALSE(matcher.Append("one E").has_value());
  EXPECT_EQ(matcher.num_held(), 1u);
  EXPECT_FALSE(matcher.Append("E\n").has_value());
  EXPECT_EQ(matcher.num_held(), 1u);
  EXPECT_FALSE(matcher.Append("EN").has_value());
  EXPECT_EQ(matcher.num_held(), 2u);
  ExpectMatch(matcher.Append("D two"), Match{7, 10, 0});
}

TEST(StopMatcherTest, FallsBackWithinItself) {
  StopMatcher matcher({"aabaac"});
  EXPECT_FALSE(matcher.Append("aabaab").has_value());
  EXPECT_EQ(matcher.num_held(), 3u);
  ExpectMatch(matcher.Append("aac"), Match{3, 9, 0});
}

TEST(StopMatcherTest, TakesTheFirstToEndAndOfThoseTheLongest) {
  ExpectMatch(StopMatcher({"abcdef", "cd"}).Append("abcdef"), Match{2, 4, 1});
  ExpectMatch(StopMatcher({"d", "bcd", "cd"}).Append("abcdef"), Match{1, 4, 1});
  ExpectMatch(StopMatcher({"same", "same"}).Append("the same"), Match{4, 8, 0});
}

TEST(StopMatcherTest, HoldsWholeCodePoints) {
  StopMatcher matcher({"ğü"});
  EXPECT_FALSE(matcher.Append("daĞ").has_value());  // Ğ and ğ share their first byte
  EXPECT_EQ(matcher.num_held(), 0u);
  EXPECT_FALSE(matcher.Append("ağ").has_value());
  EXPECT_EQ(matcher.num_held(), 2u);
}

TEST(StopMatcherTest, FindsWhatANaiveSearchFindsWhateverTheCuts) {
  constexpr uint64_t kSeed = 20261123;
  constexpr int kCases = 20000;
  int num_found = 0;
  for (int i = 0; i < kCases; ++i) {
    std::mt19937_64 random(kSeed + static_cast<uint64_t>(i));
    const auto pick = [&random](size_t low, size_t high) {
      return low + random() % (high - low + 1);
    };
    const auto make = [&](size_t size) {
      std::string text;
      const size_t num_letters = pick(1, 3);
      while (text.size() < size) text += static_cast<char>('a' + pick(0, num_letters));
      return text;
    };
    std::vector<std::string> stops;
    for (size_t n = pick(1, 4); n > 0; --n) stops.push_back(make(pick(1, i % 3 == 0 ? 12 : 5)));
    const std::string text = make(pick(0, 60));
    SCOPED_TRACE("case " + std::to_string(i) + ": " + text + " for " + absl::StrJoin(stops, ", "));
    const std::optional<Match> expected = NaiveSearch(text, stops);
    num_found += expected.has_value() ? 1 : 0;

    StopMatcher matcher(stops);
    std::optional<Match> match;
    for (size_t at = 0; at < text.size() && !match.has_value();) {
      const size_t size = std::min(text.size() - at, pick(0, 7));
      match = matcher.Append(std::string_view(text).substr(at, size));
      at += size;
      if (!match.has_value()) {
        ASSERT_EQ(matcher.num_held(), NaiveHeld(text.substr(0, at), stops));
      }
    }
    ASSERT_NO_FATAL_FAILURE(ExpectMatch(match, expected));
  }
  EXPECT_GT(num_found, kCases / 4);
  EXPECT_LT(num_found, kCases * 9 / 10);
}

}  // namespace
}  // namespace parrot
