// The pinned tables against utf8proc, whose Unicode is 15.0: what is a letter or a mark, and
// samples of whose.
#include "model/text/letter_scripts.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdint>
#include <string_view>

namespace parrot {
namespace {

// Letters and marks whose Script is Common or Inherited in Unicode 14.0.
constexpr int kNumShared = 1704;

TEST(LetterScriptsTest, TheTableIsSortedAndDisjoint) {
  char32_t end = 0;
  for (const internal::LetterRange& range : internal::LetterRanges()) {
    ASSERT_LE(range.first, range.last);
    ASSERT_GE(range.first, end);
    ASSERT_NE(range.script, LetterScript::kNone);
    end = range.last + 1;
  }
  EXPECT_EQ(end, 0x110000u);
}

// Only letters, marks, surrogates and unknown code points have a script; of those, only the ones
// that scripts share have none.
TEST(LetterScriptsTest, WhatHasAScriptIsALetterOrAMark) {
  int num_shared = 0;
  for (int32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    const LetterScript script = LetterScriptOf(static_cast<char32_t>(code_point));
    const std::string_view category = utf8proc_category_string(code_point);
    const bool is_letter = category[0] == 'L' || category[0] == 'M';
    if (script == LetterScript::kNone) {
      num_shared += is_letter ? 1 : 0;
    } else if (script != LetterScript::kOther) {
      ASSERT_TRUE(is_letter) << std::hex << code_point;
    }
    if (category == "Cs") {
      ASSERT_EQ(script, LetterScript::kOther);
    }
    if (category[0] == 'N' && code_point < 0x10000) {
      ASSERT_EQ(script, LetterScript::kNone) << std::hex << code_point;
    }
  }
  EXPECT_EQ(num_shared, kNumShared);
}

TEST(LetterScriptsTest, Samples) {
  const auto expect = [](std::u32string_view letters, LetterScript script) {
    for (const char32_t letter : letters) {
      EXPECT_EQ(LetterScriptOf(letter), script) << std::hex << static_cast<uint32_t>(letter);
    }
  };
  expect(U"aZçãõıİğşßæÿĀẞꜦﬁ", LetterScript::kLatin);
  expect(U"ＡＺａｚ", LetterScript::kFullwidthLatin);
  expect(U"中文鹦鹉々𠀀𱍊", LetterScript::kHan);
  expect(U"ابتثپچڤﷲﻼ", LetterScript::kArabic);
  expect(U"яЯёЁђѣꙀ", LetterScript::kCyrillic);
  expect(U"αΩאกあア가אּ\u0378", LetterScript::kOther);
  // Shared: digits of any kind, punctuation, symbols, spaces, marks, emoji, private use.
  expect(
      U"09٣۳०Ⅻ½ "
      U".,;?!،؟。、「」～！\n€→√№☺🦜\u0301\u064B\u200D\uFE0F\uE000ー",
      LetterScript::kNone);
}

}  // namespace
}  // namespace parrot
