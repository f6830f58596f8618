#include "model/text/utf8.h"

#include <gtest/gtest.h>

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "base/error_status.h"

namespace parrot {
namespace {

using namespace std::string_view_literals;

TEST(Utf8Test, DecodesEveryScalarValueThatItEncodes) {
  for (char32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    std::string text;
    AppendUtf8(code_point, &text);
    const Utf8Step step = DecodeUtf8(text, 0);
    ASSERT_EQ(step.kind, Utf8Kind::kValid) << static_cast<uint32_t>(code_point);
    ASSERT_EQ(step.code_point, code_point);
    ASSERT_EQ(static_cast<size_t>(step.length), text.size());
  }
}

struct InvalidCase {
  const char* name;
  std::string_view text;
  std::string message;
};

TEST(Utf8Test, NamesTheFirstInvalidByte) {
  const std::vector<InvalidCase> cases = {
      {"stray continuation", "12345678901234567\x80"sv, "invalid UTF-8 at byte 17"},
      {"overlong slash", "a\xC0\xAF"sv, "invalid UTF-8 at byte 1"},
      {"overlong NUL in three bytes", "\xE0\x80\x80"sv, "invalid UTF-8 at byte 0"},
      {"overlong in four bytes", "\xF0\x80\x80\xAF"sv, "invalid UTF-8 at byte 0"},
      {"high surrogate", "ab\xED\xA0\x80"sv, "invalid UTF-8 at byte 2"},
      {"surrogate pair (CESU-8)", "\xED\xA0\xBD\xED\xB8\x80"sv, "invalid UTF-8 at byte 0"},
      {"above U+10FFFF", "\xF4\x90\x80\x80"sv, "invalid UTF-8 at byte 0"},
      {"five-byte form", "\xF8\x88\x80\x80\x80"sv, "invalid UTF-8 at byte 0"},
      {"byte FF", "abc\xFF"sv, "invalid UTF-8 at byte 3"},
      {"cut after a lead byte", "abcdefgh\xE4\xBD"sv, "invalid UTF-8 at byte 8"},
      {"lead byte before ASCII", "\xC3(ab"sv, "invalid UTF-8 at byte 0"},
      {"after a valid character", "\xE4\xBD\xA0\xE4\xBD"sv, "invalid UTF-8 at byte 3"},
  };
  for (const InvalidCase& c : cases) {
    const absl::Status status = ValidateUtf8(c.text);
    EXPECT_EQ(status.code(), absl::StatusCode::kInvalidArgument) << c.name;
    EXPECT_EQ(std::string(status.message()), c.message) << c.name;
    EXPECT_EQ(GetErrorFacts(status).reason, "INVALID_UTF8") << c.name;
  }
}

TEST(Utf8Test, AcceptsNulAndEveryLengthAtEveryAlignment) {
  EXPECT_TRUE(ValidateUtf8("").ok());
  EXPECT_TRUE(ValidateUtf8("\0a\0"sv).ok());
  for (size_t padding = 0; padding < 20; ++padding) {
    for (const std::string_view character : {"\x7F",
                                             "\xC2\x80",
                                             "\xE0\xA0\x80",
                                             "\xEF\xBF\xBF",
                                             "\xF0\x90\x80\x80",
                                             "\xF4\x8F\xBF\xBF"}) {
      const std::string text =
          std::string(padding, 'a') + std::string(character) + std::string(padding, 'b');
      EXPECT_TRUE(ValidateUtf8(text).ok());
    }
  }
}

TEST(Utf8Test, CutsInvalidInputIntoMaximalParts) {
  // Unicode chapter 3.9: E1 80 | E2 | F0 91 92 | F1 BF.
  const std::string_view text = "\xE1\x80\xE2\xF0\x91\x92\xF1\xBF\x41"sv;
  std::vector<int32_t> lengths;
  for (size_t position = 0; position < text.size();) {
    const Utf8Step step = DecodeUtf8(text, position);
    if (step.kind != Utf8Kind::kValid) lengths.push_back(step.length);
    position += static_cast<size_t>(step.length);
  }
  EXPECT_EQ(lengths, (std::vector<int32_t>{2, 1, 3, 2}));
}

TEST(Utf8Test, TellsAnUnfinishedCharacterFromAnInvalidOne) {
  EXPECT_EQ(DecodeUtf8("\xF0\x9F\xA6", 0).kind, Utf8Kind::kIncomplete);
  EXPECT_EQ(DecodeUtf8("\xE4", 0).kind, Utf8Kind::kIncomplete);
  EXPECT_EQ(DecodeUtf8("\xF0\x80", 0).kind, Utf8Kind::kInvalid);
  EXPECT_EQ(DecodeUtf8("\xED\xA0", 0).kind, Utf8Kind::kInvalid);
}

}  // namespace
}  // namespace parrot
