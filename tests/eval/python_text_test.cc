#include "eval/python_text.h"

#include <cmath>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "gmock/gmock.h"
#include "gtest/gtest.h"

namespace parrot {
namespace {

using ::testing::ElementsAre;

TEST(PythonText, WordsEndAtUnicodeWhitespaceOnly) {
  EXPECT_THAT(SplitWords(" a\u00a0b\u3000c\x1f"
                         "d\u200be "),
              ElementsAre("a", "b", "c", "d\u200be"));
  EXPECT_TRUE(SplitWords(" \u2028\n").empty());
  EXPECT_EQ(StripSpace("\u3000 a b\u0085"), "a b");
  EXPECT_EQ(StripAscii("\u3000 a ", kAsciiWhitespace), "\u3000 a");
}

TEST(PythonText, LowerCaseIsTheFullOne) {
  EXPECT_EQ(LowerCase("ЖЁЛТЫЙ Ä"), "жёлтый ä");
  EXPECT_EQ(LowerCase("İki"), "i\u0307ki");
  EXPECT_EQ(LowerCase("ΟΔΟΣ ΣΑΣ. Σ"), "οδος σας. σ");
  EXPECT_EQ(LowerCase("ΑΣ'Α ΑΣ'"), "ασ'α ας'");
  EXPECT_EQ(NumCharacters("İ答a"), 3);
  EXPECT_EQ(DropCharacters("İ答a", 2), "a");
  EXPECT_EQ(DropCharacters("ab", 5), "");
}

TEST(PythonText, OnlyUnifiedIdeographsOfTheFirstBlockAreCjk) {
  EXPECT_TRUE(HasCjk("a 一"));
  EXPECT_TRUE(HasCjk("鿿"));
  EXPECT_FALSE(HasCjk("のア한㐀\uf900。"));
}

TEST(PythonText, NumbersAreReadAsPandasReadsThem) {
  EXPECT_EQ(ParseInteger(" +007 "), 7);
  EXPECT_EQ(ParseInteger("-3"), -3);
  for (const char* text : {"", "+-3", "1.0", "0x10", "1,000", "9223372036854775808"}) {
    EXPECT_EQ(ParseInteger(text), std::nullopt) << text;
  }
  EXPECT_EQ(ParseReal("1e1"), 10);
  EXPECT_EQ(ParseReal(".5"), 0.5);
  EXPECT_EQ(ParseReal("5."), 5);
  EXPECT_EQ(ParseReal("-INFINITY"), -INFINITY);
  EXPECT_EQ(ParseReal("1e400"), INFINITY);
  EXPECT_EQ(ParseReal("1e-320"), 1e-320);
  EXPECT_EQ(ParseReal("0.1234567890123456789"), 0.1234567890123456);
  EXPECT_EQ(ParseReal("123456789012345678901"), 12345678901234567.0 * 1e4);
  for (const char* text : {"", ".", "e5", "1e", "1 2", "0x10", "--1", "nan"}) {
    EXPECT_EQ(ParseReal(text), std::nullopt) << text;
  }
}

TEST(PythonText, FloatsArePrintedAsByRepr) {
  EXPECT_EQ(FormatReal(70), "70.0");
  EXPECT_EQ(FormatReal(-0.5), "-0.5");
  EXPECT_EQ(FormatReal(0.0001), "0.0001");
  EXPECT_EQ(FormatReal(0.00001), "1e-05");
  EXPECT_EQ(FormatReal(1e15), "1000000000000000.0");
  EXPECT_EQ(FormatReal(1e16), "1e+16");
  EXPECT_EQ(FormatReal(INFINITY), "inf");
  EXPECT_EQ(FormatReal(0), "0.0");
}

}  // namespace
}  // namespace parrot
