// Text as Python's str sees it, where an evaluator's result depends on it: white space,
// lower-casing (the full one, with the final sigma), how floats are read by pandas and printed.
// Case follows Unicode 15.0, which changes no letter that Python 3.11's 14.0 knows. Texts are
// UTF-8; what is not counts as one character a byte. Stateless; thread-safe.
#ifndef PARROT_EVAL_PYTHON_TEXT_H_
#define PARROT_EVAL_PYTHON_TEXT_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

namespace parrot {

// string.whitespace and string.punctuation.
inline constexpr std::string_view kAsciiWhitespace = " \t\n\r\x0b\x0c";
inline constexpr std::string_view kAsciiPunctuation = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~";

// str.isspace of one character.
bool IsPythonSpace(char32_t code_point);

// str.split() without arguments.
std::vector<std::string_view> SplitWords(std::string_view text);
// str.strip(characters): ASCII ones, from both ends.
std::string_view StripAscii(std::string_view text, std::string_view characters);
// str.strip() without arguments.
std::string_view StripSpace(std::string_view text);
// str.lower().
std::string LowerCase(std::string_view text);
// len(str): characters.
int64_t NumCharacters(std::string_view text);
// str[count:], in characters.
std::string_view DropCharacters(std::string_view text, int64_t count);
// Whether a character of U+4E00 .. U+9FFF is in it.
bool HasCjk(std::string_view text);

// What pandas reads as an int64 and as a float64: white space around is allowed, long decimals are
// cut after 17 digits, as its fast parser does. nullopt: text.
std::optional<int64_t> ParseInteger(std::string_view text);
std::optional<double> ParseReal(std::string_view text);
// repr(float): "70.0", "1e-05", "nan".
std::string FormatReal(double value);

}  // namespace parrot

#endif  // PARROT_EVAL_PYTHON_TEXT_H_
