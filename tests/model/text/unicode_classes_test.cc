// The pinned tables against utf8proc, code point by code point.
#include "model/text/unicode_classes.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <array>
#include <cstdint>
#include <set>
#include <string>

#include "model/text/unicode_tables.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

// Unicode 14.0 counts, from its DerivedGeneralCategory and PropList files.
constexpr int kNumLetters = 131756;
constexpr int kNumNumbers = 1791;
constexpr int kNumSpaces = 25;
// Primary composites of Unicode 14.0 and 15.0: 941 and the 11,172 Hangul syllables.
constexpr int kNumComposites = 941 + 11172;
constexpr int kNumSensitive = 2100;

// Letters and numbers only in newer tables than ours; utf8proc's are those of 15.0.
std::set<char32_t> NewerLettersAndNumbers() {
  const nlohmann::json notes =
      nlohmann::json::parse(ReadGoldenFile("tokenizer/unicode_notes.json"));
  std::set<char32_t> result;
  for (const nlohmann::json& row : notes["splitter"]["differs_from_unicode_15_1"]) {
    const auto first = std::stoul(row[0].get<std::string>(), nullptr, 16);
    const auto last = std::stoul(row[1].get<std::string>(), nullptr, 16);
    for (auto c = first; c <= last; ++c) result.insert(static_cast<char32_t>(c));
  }
  EXPECT_EQ(result.size(), notes["splitter"]["code_points_differing_from_15_1"].get<size_t>());
  return result;
}

TEST(UnicodeClassesTest, ClassesAreTheGeneralCategoriesOfUnicode14) {
  const std::set<char32_t> newer = NewerLettersAndNumbers();
  std::array<int, 4> counts{};
  for (int32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    const CodePointClass got = ClassifyCodePoint(static_cast<char32_t>(code_point));
    ++counts[static_cast<size_t>(got)];
    if (got == CodePointClass::kSpace) continue;
    if (newer.contains(static_cast<char32_t>(code_point))) {
      ASSERT_EQ(got, CodePointClass::kOther) << std::hex << code_point;
      continue;
    }
    const char major = utf8proc_category_string(code_point)[0];
    ASSERT_EQ(got == CodePointClass::kLetter, major == 'L') << std::hex << code_point;
    ASSERT_EQ(got == CodePointClass::kNumber, major == 'N') << std::hex << code_point;
    ASSERT_NE(major, 'Z') << std::hex << code_point;  // every separator is white space
  }
  EXPECT_EQ(counts[static_cast<size_t>(CodePointClass::kLetter)], kNumLetters);
  EXPECT_EQ(counts[static_cast<size_t>(CodePointClass::kNumber)], kNumNumbers);
  EXPECT_EQ(counts[static_cast<size_t>(CodePointClass::kSpace)], kNumSpaces);
  for (const char32_t space : {0x09, 0x0A, 0x0B, 0x0C, 0x0D, 0x20, 0x85, 0xA0}) {
    EXPECT_EQ(ClassifyCodePoint(space), CodePointClass::kSpace);
  }
}

TEST(UnicodeClassesTest, TablesAreSortedAndDisjoint) {
  char32_t end = 0;
  for (const internal::ClassRange& range : internal::ClassRanges()) {
    ASSERT_LE(range.first, range.last);
    ASSERT_GE(range.first, end);
    end = range.last + 1;
  }
  end = 0;
  for (const internal::CodePointRange& range : internal::NfcSensitiveRanges()) {
    ASSERT_LE(range.first, range.last);
    ASSERT_GE(range.first, end);
    end = range.last + 1;
  }
}

// Marks that have a combining class in Unicode 15.0 and none in 14.0.
const std::set<int32_t> kNewerMarks = {
    0x10EFD, 0x10EFE, 0x10EFF, 0x11F41, 0x11F42, 0x1E08F, 0x1E4EC, 0x1E4ED, 0x1E4EE, 0x1E4EF};

// utf8proc's canonical forms decide what is sensitive; false alarms would only cost time.
TEST(UnicodeClassesTest, EveryCodePointThatNfcMayTouchIsSensitive) {
  int num_sensitive = 0;
  int num_composites = 0;
  for (int32_t code_point = 0; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    const bool sensitive = IsNfcSensitive(static_cast<char32_t>(code_point));
    num_sensitive += sensitive ? 1 : 0;
    std::array<utf8proc_int32_t, 16> parts{};
    int boundary_class = 0;
    const auto size = utf8proc_decompose_char(
        code_point, parts.data(), parts.size(), UTF8PROC_DECOMPOSE, &boundary_class);
    ASSERT_GT(size, 0);
    bool must_be = utf8proc_get_property(code_point)->combining_class != 0 &&
                   !kNewerMarks.contains(code_point);
    // A decomposition that does not compose back.
    std::array<utf8proc_int32_t, 16> composed = parts;
    const auto composed_size = utf8proc_normalize_utf32(
        composed.data(), size, static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE));
    must_be = must_be || composed_size != 1 || composed[0] != code_point;
    ASSERT_TRUE(sensitive || !must_be) << std::hex << code_point;
    // The last part of a composite may combine with what stands before it.
    if (size > 1 && composed_size == 1 && composed[0] == code_point) {
      ++num_composites;
      const auto last = static_cast<char32_t>(parts[static_cast<size_t>(size) - 1]);
      ASSERT_TRUE(IsNfcSensitive(last)) << std::hex << code_point;
    }
  }
  EXPECT_EQ(num_sensitive, kNumSensitive);
  for (const int32_t mark : kNewerMarks) {
    EXPECT_FALSE(IsNfcSensitive(static_cast<char32_t>(mark)));
  }
  // A utf8proc with newer tables may compose more; then nfc_normalizer.cc must learn to hold it
  // off.
  EXPECT_EQ(num_composites, kNumComposites);
}

}  // namespace
}  // namespace parrot
