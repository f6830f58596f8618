#include "client/cli/terminal.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <cstdint>
#include <cstdlib>

#include "absl/strings/ascii.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

namespace parrot {
namespace {

constexpr std::string_view kReplacement = "\xEF\xBF\xBD";
constexpr int kBarCells = 30;

std::string Environment(const char* name) {
  const char* value = std::getenv(name);
  return value == nullptr ? "" : value;
}

bool LocaleIsUtf8() {
  for (const char* name : {"LC_ALL", "LC_CTYPE", "LANG"}) {
    const std::string value = absl::AsciiStrToLower(Environment(name));
    if (value.empty()) continue;
    return value.find("utf-8") != std::string::npos || value.find("utf8") != std::string::npos;
  }
  return false;
}

// Bytes of the well-formed code point at the start of `text`; 0 if there is none.
size_t CodePointBytes(std::string_view text) {
  const auto at = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  if (at(0) < 0x80) return 1;
  size_t length = 0;
  if (at(0) >= 0xC2 && at(0) <= 0xDF) length = 2;
  if (at(0) >= 0xE0 && at(0) <= 0xEF) length = 3;
  if (at(0) >= 0xF0 && at(0) <= 0xF4) length = 4;
  if (length == 0 || text.size() < length) return 0;
  for (size_t i = 1; i < length; ++i) {
    if ((at(i) & 0xC0) != 0x80) return 0;
  }
  return length;
}

bool IsControl(std::string_view code_point) {
  const auto first = static_cast<uint8_t>(code_point[0]);
  if (code_point.size() == 1) {
    return (first < 0x20 && first != '\n' && first != '\t') || first == 0x7F;
  }
  return first == 0xC2 && static_cast<uint8_t>(code_point[1]) < 0xA0;
}

float Share(float weight) { return std::isfinite(weight) ? std::clamp(weight, 0.0f, 1.0f) : 0.0f; }

std::string Repeated(std::string_view cell, int count) {
  std::string text;
  for (int i = 0; i < count; ++i) text += cell;
  return text;
}

}  // namespace

TerminalStyle StyleOf(int fd) {
  TerminalStyle style;
  style.is_tty = isatty(fd) == 1;
  style.colour = style.is_tty && Environment("NO_COLOR").empty() && Environment("TERM") != "dumb";
  style.unicode = style.is_tty && LocaleIsUtf8();
  return style;
}

std::string WithoutControls(std::string_view text) {
  std::string clean;
  clean.reserve(text.size());
  while (!text.empty()) {
    const size_t length = CodePointBytes(text);
    const std::string_view code_point = text.substr(0, std::max<size_t>(length, 1));
    clean += length == 0 || IsControl(code_point) ? kReplacement : code_point;
    text.remove_prefix(code_point.size());
  }
  return clean;
}

std::string Dimmed(std::string_view text, const TerminalStyle& style) {
  if (!style.colour) return std::string(text);
  std::string dimmed = "\x1b[2m";
  dimmed += text;
  dimmed += "\x1b[0m";
  return dimmed;
}

std::string ExpertBars(std::span<const float> weights, const TerminalStyle& style) {
  std::string text;
  for (size_t i = 0; i < weights.size(); ++i) {
    const int full = static_cast<int>(std::lround(Share(weights[i]) * kBarCells));
    absl::StrAppend(&text,
                    absl::StrFormat("  expert %d  ", i),
                    Repeated(style.unicode ? "█" : "#", full),
                    Repeated(style.unicode ? "░" : ".", kBarCells - full),
                    absl::StrFormat("  %.3f\n", weights[i]));
  }
  return text;
}

std::string ExpertLine(std::span<const float> weights, const TerminalStyle& style) {
  static constexpr std::array<const char*, 9> kUnicode = {
      " ", "▁", "▂", "▃", "▄", "▅", "▆", "▇", "█"};
  static constexpr std::array<const char*, 9> kAscii = {
      " ", ".", ":", "-", "=", "+", "*", "%", "#"};
  const auto& levels = style.unicode ? kUnicode : kAscii;
  std::string text = "experts |";
  for (const float weight : weights) {
    const auto level = std::lround(Share(weight) * static_cast<float>(levels.size() - 1));
    absl::StrAppend(&text, levels.at(static_cast<size_t>(level)));
  }
  absl::StrAppend(&text, "|");
  for (const float weight : weights) absl::StrAppend(&text, absl::StrFormat(" %.2f", weight));
  return text;
}

}  // namespace parrot
