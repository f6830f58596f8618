#include "model/text/nfc_normalizer.h"

#include <utf8proc.h>

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstdint>
#include <iterator>
#include <vector>

#include "base/check.h"
#include "model/text/unicode_classes.h"
#include "model/text/utf8.h"

namespace parrot {
namespace {

struct Range {
  char32_t first;
  char32_t last;
};

// Marks whose combining class is newer than Unicode 9.0 (98 code points).
constexpr Range kClassZeroMarks[] = {
    // clang-format off
    {0x7FD, 0x7FD}, {0x898, 0x89F}, {0x8CA, 0x8D3}, {0x9FE, 0x9FE},
    {0xC3C, 0xC3C}, {0xD3B, 0xD3C}, {0xEBA, 0xEBA}, {0x1715, 0x1715},
    {0x1ABF, 0x1ACE}, {0x1DF6, 0x1DFA}, {0xA82C, 0xA82C}, {0x10D24, 0x10D27},
    {0x10EAB, 0x10EAC}, {0x10F46, 0x10F50}, {0x10F82, 0x10F85}, {0x11070, 0x11070},
    {0x1133B, 0x1133B}, {0x1145E, 0x1145E}, {0x11839, 0x1183A}, {0x1193D, 0x1193E},
    {0x11943, 0x11943}, {0x119E0, 0x119E0}, {0x11A34, 0x11A34}, {0x11A47, 0x11A47},
    {0x11A99, 0x11A99}, {0x11D42, 0x11D42}, {0x11D44, 0x11D45}, {0x11D97, 0x11D97},
    {0x16FF0, 0x16FF1}, {0x1E130, 0x1E136}, {0x1E2AE, 0x1E2AE}, {0x1E2EC, 0x1E2EF},
    // clang-format on
};

// Its decomposition is newer than Unicode 9.0.
constexpr char32_t kNeverComposed = 0x11938;

struct Mark {
  char32_t code_point;
  uint16_t combining_class;
};

// Code points that are not NFC-sensitive in Unicode 14.0 have class 0, whatever newer tables of
// utf8proc say.
uint16_t CombiningClass(char32_t code_point) {
  if (!IsNfcSensitive(code_point)) return 0;
  const Range* range =
      std::lower_bound(std::begin(kClassZeroMarks),
                       std::end(kClassZeroMarks),
                       code_point,
                       [](const Range& r, char32_t value) { return r.last < value; });
  if (range != std::end(kClassZeroMarks) && range->first <= code_point) return 0;
  return static_cast<uint16_t>(
      utf8proc_get_property(static_cast<utf8proc_int32_t>(code_point))->combining_class);
}

// Appends the full canonical decomposition.
void Decompose(char32_t code_point, std::vector<Mark>* out) {
  std::array<utf8proc_int32_t, 16> parts;  // canonical decompositions have at most 4
  parts[0] = static_cast<utf8proc_int32_t>(code_point);
  utf8proc_ssize_t num_parts = 1;
  if (code_point != kNeverComposed) {
    int unused_boundary_class = 0;
    num_parts = utf8proc_decompose_char(static_cast<utf8proc_int32_t>(code_point),
                                        parts.data(),
                                        parts.size(),
                                        UTF8PROC_DECOMPOSE,
                                        &unused_boundary_class);
  }
  PARROT_CHECK(num_parts >= 1 && num_parts <= static_cast<utf8proc_ssize_t>(parts.size()));
  for (utf8proc_ssize_t i = 0; i < num_parts; ++i) {
    const auto part = static_cast<char32_t>(parts[static_cast<size_t>(i)]);
    out->push_back({part, CombiningClass(part)});
  }
}

// The primary composite of the pair, or 0.
char32_t Compose(char32_t first, char32_t second) {
  std::array<utf8proc_int32_t, 2> pair = {static_cast<utf8proc_int32_t>(first),
                                          static_cast<utf8proc_int32_t>(second)};
  const auto options = static_cast<utf8proc_option_t>(UTF8PROC_COMPOSE | UTF8PROC_STABLE);
  if (utf8proc_normalize_utf32(pair.data(), pair.size(), options) != 1) return 0;
  const auto composite = static_cast<char32_t>(pair[0]);
  return composite == kNeverComposed ? 0 : composite;
}

// Sorts each run of marks with non-zero class by class, keeping the order of equals.
void OrderMarks(std::vector<Mark>* marks) {
  const auto is_starter = [](const Mark& m) { return m.combining_class == 0; };
  const auto by_class = [](const Mark& a, const Mark& b) {
    return a.combining_class < b.combining_class;
  };
  for (auto begin = marks->begin(); begin != marks->end();) {
    begin = std::find_if_not(begin, marks->end(), is_starter);
    const auto end = std::find_if(begin, marks->end(), is_starter);
    std::stable_sort(begin, end, by_class);
    begin = end;
  }
}

// Combines each mark with the last starter unless one of the same or a higher class, or a starter,
// stands between them (Unicode, D117).
void ComposeMarks(std::vector<Mark>* marks) {
  constexpr size_t kNone = SIZE_MAX;
  size_t starter = kNone;  // index of the last starter in the output
  size_t size = 0;         // marks kept so far
  for (size_t i = 0; i < marks->size(); ++i) {
    const Mark mark = (*marks)[i];
    if (starter != kNone) {
      const bool adjacent = size == starter + 1;
      const bool blocked = !adjacent && (*marks)[size - 1].combining_class >= mark.combining_class;
      const char32_t composite =
          blocked ? 0 : Compose((*marks)[starter].code_point, mark.code_point);
      if (composite != 0) {
        (*marks)[starter].code_point = composite;
        continue;
      }
    }
    if (mark.combining_class == 0) starter = size;
    (*marks)[size++] = mark;
  }
  marks->resize(size);
}

}  // namespace

std::string_view NormalizeNfc(std::string_view text, std::string* storage) {
  storage->clear();
  size_t copied = 0;    // text[0, copied) is in *storage, normalised
  size_t boundary = 0;  // start of the last code point that NFC leaves alone
  std::vector<Mark> marks;
  for (size_t position = 0; position < text.size();) {
    const Utf8Step step = DecodeUtf8(text, position);
    if (!IsNfcSensitive(step.code_point)) {
      boundary = position;
      position += static_cast<size_t>(step.length);
      continue;
    }
    // Normalise from the last boundary up to the next one.
    storage->append(text, copied, boundary - copied);
    marks.clear();
    for (position = boundary; position < text.size();) {
      const Utf8Step next = DecodeUtf8(text, position);
      if (position > boundary && !IsNfcSensitive(next.code_point)) break;
      Decompose(next.code_point, &marks);
      position += static_cast<size_t>(next.length);
    }
    OrderMarks(&marks);
    ComposeMarks(&marks);
    for (const Mark& mark : marks) AppendUtf8(mark.code_point, storage);
    copied = boundary = position;
  }
  if (copied == 0) return text;
  storage->append(text, copied);
  return *storage;
}

}  // namespace parrot
