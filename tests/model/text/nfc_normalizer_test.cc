#include "model/text/nfc_normalizer.h"

#include <gtest/gtest.h>
#include <utf8proc.h>

#include <cstdlib>
#include <random>
#include <set>
#include <string>
#include <string_view>
#include <vector>

#include "model/text/unicode_classes.h"
#include "model/text/utf8.h"
#include "tests/golden_reader/golden_reader.h"

namespace parrot {
namespace {

std::string Normalize(std::string_view text) {
  std::string storage;
  return std::string(NormalizeNfc(text, &storage));
}

std::string Utf8procNfc(const std::string& text) {
  utf8proc_uint8_t* result = nullptr;
  const auto size =
      utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(text.data()),
                   static_cast<utf8proc_ssize_t>(text.size()),
                   &result,
                   static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_COMPOSE));
  EXPECT_GE(size, 0);
  std::string normalized(reinterpret_cast<const char*>(result), static_cast<size_t>(size));
  std::free(result);
  return normalized;
}

// The marks that count as class 0 and what U+11938 is made of: where we mean to differ from 14.0.
std::set<char32_t> ExceptionalCodePoints() {
  const nlohmann::json notes =
      nlohmann::json::parse(ReadGoldenFile("tokenizer/unicode_notes.json"));
  std::set<char32_t> result = {0x11938, 0x11930, 0x11935};
  for (const nlohmann::json& hex : notes["normaliser"]["combining_class_zero"]) {
    result.insert(static_cast<char32_t>(std::stoul(hex.get<std::string>(), nullptr, 16)));
  }
  return result;
}

TEST(NfcNormalizerTest, EqualsTheReferenceOnEveryUnicodeCase) {
  int num_cases = 0;
  for (const nlohmann::json& c : ReadJsonLines("tokenizer/unicode_cases.jsonl.xz")) {
    EXPECT_EQ(Normalize(c["text"].get<std::string>()), c["normalised"].get<std::string>());
    ++num_cases;
  }
  EXPECT_EQ(num_cases, 170);
}

TEST(NfcNormalizerTest, EqualsUtf8procOnEverySingleCodePoint) {
  for (char32_t code_point = 1; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    std::string text;
    AppendUtf8(code_point, &text);
    ASSERT_EQ(Normalize(text), Utf8procNfc(text)) << std::hex << static_cast<uint32_t>(code_point);
  }
}

TEST(NfcNormalizerTest, EqualsUtf8procOnRandomTextWithoutTheExceptions) {
  const std::set<char32_t> exceptions = ExceptionalCodePoints();
  ASSERT_EQ(exceptions.size(), 101u);
  std::vector<char32_t> alphabet = {'a',
                                    'e',
                                    'o',
                                    's',
                                    ' ',
                                    0x3B1,
                                    0x1112,
                                    0x1161,
                                    0x11AB,
                                    0xAC00,
                                    0x915,
                                    0x93C,
                                    0x5D0,
                                    0x4E2D,
                                    0x1F99C,
                                    0x9C7,
                                    0x9BE};
  for (char32_t c = 0x300; c <= 0x1FFFF; ++c) {
    const bool mark = utf8proc_get_property(static_cast<utf8proc_int32_t>(c))->combining_class != 0;
    // Marks of Unicode 15.0 are not in our tables, which are of 14.0.
    if (mark && IsNfcSensitive(c) && !exceptions.contains(c)) alphabet.push_back(c);
  }
  for (const uint32_t seed : {1u, 2u, 3u}) {
    std::mt19937 random(seed);
    for (int i = 0; i < 5000; ++i) {
      std::string text;
      for (auto length = random() % 12; length > 0; --length) {
        const bool base = random() % 3 == 0;
        AppendUtf8(alphabet[random() % (base ? 17 : alphabet.size())], &text);
      }
      ASSERT_EQ(Normalize(text), Utf8procNfc(text)) << "seed " << seed << " case " << i;
    }
  }
}

TEST(NfcNormalizerTest, MarksNewerThanItsTablesAreNeitherMovedNorSkipped) {
  // U+10EFD has class 220 since Unicode 15.0; U+0316 has 220, U+0301 has 230.
  const std::string newer = "\xF0\x90\xBB\xBD";
  EXPECT_EQ(Normalize("e" + newer + "\xCC\x81"), "e" + newer + "\xCC\x81");
  EXPECT_EQ(Normalize(newer + "\xCC\x81\xCC\x96"), newer + "\xCC\x96\xCC\x81");
}

TEST(NfcNormalizerTest, IsIdempotentAlsoWithTheExceptions) {
  const std::set<char32_t> exceptions = ExceptionalCodePoints();
  std::vector<char32_t> alphabet(exceptions.begin(), exceptions.end());
  for (const char32_t c : {0x61, 0x65, 0x301, 0x323, 0x308, 0x344, 0x1161, 0x1100}) {
    for (int i = 0; i < 20; ++i) alphabet.push_back(c);
  }
  std::mt19937 random(7);
  for (int i = 0; i < 20000; ++i) {
    std::string text;
    for (auto length = random() % 10; length > 0; --length) {
      AppendUtf8(alphabet[random() % alphabet.size()], &text);
    }
    const std::string once = Normalize(text);
    ASSERT_EQ(Normalize(once), once) << "seed 7 case " << i;
  }
}

TEST(NfcNormalizerTest, ReturnsTheTextItselfWhenNothingIsSensitive) {
  const std::string text = "Voc\xC3\xAA? \xE4\xBD\xA0\xE5\xA5\xBD \xD0\xBF\xD1\x80";
  std::string storage;
  EXPECT_EQ(NormalizeNfc(text, &storage).data(), text.data());
}

TEST(NfcNormalizerTest, NeverShrinksTextMoreThanItsBound) {
  for (char32_t code_point = 0x80; code_point <= 0x10FFFF; ++code_point) {
    if (code_point >= 0xD800 && code_point < 0xE000) continue;
    std::string composed;
    AppendUtf8(code_point, &composed);
    utf8proc_uint8_t* result = nullptr;
    const auto size =
        utf8proc_map(reinterpret_cast<const utf8proc_uint8_t*>(composed.data()),
                     static_cast<utf8proc_ssize_t>(composed.size()),
                     &result,
                     static_cast<utf8proc_option_t>(UTF8PROC_STABLE | UTF8PROC_DECOMPOSE));
    std::free(result);
    ASSERT_LE(static_cast<size_t>(size), composed.size() * kMaxNfcShrink);
  }
}

TEST(NfcNormalizerTest, HandlesAMegabyteOfMarksInAnyOrder) {
  std::string text = "a";
  for (int i = 0; i < 260000; ++i) text += i % 2 == 0 ? "\xCC\x81" : "\xCC\xA3";  // 230, 220
  const std::string normalized = Normalize(text);
  // a + dot below compose; the first of the acutes then stays behind the other dots.
  EXPECT_EQ(normalized.substr(0, 5), "\xE1\xBA\xA1\xCC\xA3");
  EXPECT_EQ(normalized.size(), text.size());
}

}  // namespace
}  // namespace parrot
