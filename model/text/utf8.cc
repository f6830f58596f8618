#include "model/text/utf8.h"

#include <cstring>

#include "base/error_status.h"

namespace parrot {
namespace {

// What a lead byte announces: the length of the character and the range of the second byte, which
// excludes overlong forms, surrogates and values above U+10FFFF (Unicode, table 3-7).
struct LeadByte {
  int32_t length;  // 0: not a lead byte
  uint8_t second_min;
  uint8_t second_max;
};

LeadByte ReadLeadByte(uint8_t byte) {
  if (byte >= 0xC2 && byte <= 0xDF) return {2, 0x80, 0xBF};
  if (byte == 0xE0) return {3, 0xA0, 0xBF};
  if (byte == 0xED) return {3, 0x80, 0x9F};
  if (byte >= 0xE1 && byte <= 0xEF) return {3, 0x80, 0xBF};
  if (byte == 0xF0) return {4, 0x90, 0xBF};
  if (byte >= 0xF1 && byte <= 0xF3) return {4, 0x80, 0xBF};
  if (byte == 0xF4) return {4, 0x80, 0x8F};
  return {0, 0, 0};
}

// Length of the leading run of whole 8-byte words that are ASCII.
size_t SkipAscii(std::string_view text, size_t position) {
  constexpr uint64_t kHighBits = 0x8080808080808080u;
  while (position + sizeof(uint64_t) <= text.size()) {
    uint64_t word = 0;
    std::memcpy(&word, text.data() + position, sizeof(word));
    if ((word & kHighBits) != 0) break;
    position += sizeof(word);
  }
  return position;
}

}  // namespace

Utf8Step DecodeUtf8(std::string_view text, size_t position) {
  const auto byte_at = [text](size_t i) { return static_cast<uint8_t>(text[i]); };
  const uint8_t first = byte_at(position);
  if (first < 0x80) return {Utf8Kind::kValid, 1, first};
  const LeadByte lead = ReadLeadByte(first);
  if (lead.length == 0) return {Utf8Kind::kInvalid, 1, 0};
  char32_t code_point = first & (0x7F >> lead.length);
  for (int32_t i = 1; i < lead.length; ++i) {
    if (position + static_cast<size_t>(i) >= text.size()) return {Utf8Kind::kIncomplete, i, 0};
    const uint8_t byte = byte_at(position + static_cast<size_t>(i));
    const uint8_t min = i == 1 ? lead.second_min : 0x80;
    const uint8_t max = i == 1 ? lead.second_max : 0xBF;
    if (byte < min || byte > max) return {Utf8Kind::kInvalid, i, 0};
    code_point = (code_point << 6) | (byte & 0x3F);
  }
  return {Utf8Kind::kValid, lead.length, code_point};
}

absl::Status ValidateUtf8(std::string_view text) {
  for (size_t position = SkipAscii(text, 0); position < text.size();) {
    const Utf8Step step = DecodeUtf8(text, position);
    if (step.kind != Utf8Kind::kValid) {
      return ErrorStatus(absl::StatusCode::kInvalidArgument,
                         "invalid UTF-8 at byte " + std::to_string(position),
                         {.reason = "INVALID_UTF8", .value = std::to_string(position)});
    }
    position += static_cast<size_t>(step.length);
    if (step.length == 1) position = SkipAscii(text, position);
  }
  return absl::OkStatus();
}

void AppendUtf8(char32_t code_point, std::string* out) {
  const auto push = [out](char32_t byte) { out->push_back(static_cast<char>(byte)); };
  if (code_point < 0x80) {
    push(code_point);
    return;
  }
  if (code_point < 0x800) {
    push(0xC0 | (code_point >> 6));
  } else {
    if (code_point < 0x10000) {
      push(0xE0 | (code_point >> 12));
    } else {
      push(0xF0 | (code_point >> 18));
      push(0x80 | ((code_point >> 12) & 0x3F));
    }
    push(0x80 | ((code_point >> 6) & 0x3F));
  }
  push(0x80 | (code_point & 0x3F));
}

}  // namespace parrot
