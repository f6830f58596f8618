#include "model/text/qwen_pretokenizer.h"

#include <gtest/gtest.h>

#include <string>
#include <string_view>
#include <vector>

namespace parrot {
namespace {

using Pieces = std::vector<std::string>;

Pieces Split(std::string_view text) {
  Pieces pieces;
  for (size_t begin = 0; begin < text.size();) {
    const size_t end = QwenPieceEnd(text, begin);
    pieces.emplace_back(text.substr(begin, end - begin));
    begin = end;
  }
  return pieces;
}

struct Case {
  std::string_view text;
  Pieces pieces;
};

// Each line is one branch of the pattern or one order of its alternatives.
TEST(QwenPretokenizerTest, SplitsAsThePatternSays) {
  const std::vector<Case> cases = {
      {"Hello world", {"Hello", " world"}},
      {"it's I'll we'RE you'Ve 'D x'M",
       {"it", "'s", " I", "'ll", " we", "'RE", " you", "'Ve", " '", "D", " x", "'M"}},
      {"'\xC5\xBFx", {"'\xC5\xBF", "x"}},  // long s folds to s
      {"'l", {"'l"}},                      // no contraction: other + letters
      {"'r1", {"'r", "1"}},
      {"'", {"'"}},
      {"a'", {"a", "'"}},
      {"123", {"1", "2", "3"}},
      {"\xD9\xA3\xC2\xBD", {"\xD9\xA3", "\xC2\xBD"}},  // Arabic digit, one half
      {"!hello", {"!hello"}},
      {"!!hello", {"!!", "hello"}},
      {" !hello", {" !", "hello"}},
      {"\thello", {"\thello"}},
      {"\nhello", {"\n", "hello"}},
      {" \nhello", {" \n", "hello"}},
      {"x!\r\n\r\ny", {"x", "!\r\n\r\n", "y"}},
      {"x !\n y", {"x", " !\n", " y"}},
      {"  x", {" ", " x"}},
      {"   !", {"  ", " !"}},
      {"  \t!", {"  ", "\t", "!"}},
      {"  1", {" ", " ", "1"}},
      {" 1", {" ", "1"}},
      {"x   ", {"x", "   "}},
      {"x  \n  \n  y", {"x", "  \n  \n", " ", " y"}},
      {"\n\n", {"\n\n"}},
      {"\xE3\x80\x80x", {"\xE3\x80\x80x"}},  // ideographic space + letter
      {"\xC2\xA0!", {"\xC2\xA0", "!"}},      // no-break space takes no punctuation
      {"e\xCC\x81t", {"e", "\xCC\x81t"}},    // a mark is not a letter
      {"\xE4\xBD\xA0\xEF\xBC\x8C\xE5\xA5\xBD", {"\xE4\xBD\xA0", "\xEF\xBC\x8C\xE5\xA5\xBD"}},
      {std::string_view("\0a", 2), {std::string("\0a", 2)}},
  };
  for (const Case& c : cases) EXPECT_EQ(Split(c.text), c.pieces) << "text: " << c.text;
}

// A scan that went back over its text would take hours here.
TEST(QwenPretokenizerTest, ScansMegabytesOfHostileTextOnce) {
  constexpr size_t kSize = size_t{1} << 20;
  for (const std::string_view unit : {" ", "\n", " \n", "'", "a", "1", "!", "\t ", "' ", "!\n"}) {
    std::string text;
    while (text.size() < kSize) text += unit;
    size_t total = 0;
    for (const std::string& piece : Split(text + "x")) total += piece.size();
    EXPECT_EQ(total, text.size() + 1);
  }
}

}  // namespace
}  // namespace parrot
