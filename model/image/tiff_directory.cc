#include "model/image/tiff_directory.h"

#include <cstddef>

#include "model/image/container_probes.h"

namespace parrot::internal {

using std::string_view_literals::operator""sv;

std::optional<uint32_t> FindTiffInteger(std::string_view tiff, uint16_t tag) {
  constexpr size_t kHeaderBytes = 8;
  constexpr size_t kEntryBytes = 12;
  constexpr uint32_t kShort = 3;
  constexpr uint32_t kLong = 4;
  const bool is_little = tiff.starts_with("II*\0"sv);
  if (tiff.size() < kHeaderBytes || !(is_little || tiff.starts_with("MM\0*"sv))) {
    return std::nullopt;
  }
  const auto read16 = [&](size_t at) {
    return is_little ? LittleEndian16(tiff, at) : BigEndian16(tiff, at);
  };
  const auto read32 = [&](size_t at) {
    return is_little ? LittleEndian32(tiff, at) : BigEndian32(tiff, at);
  };
  const size_t directory = read32(4);
  if (directory + 2 > tiff.size()) return std::nullopt;
  const size_t num_entries = read16(directory);
  size_t entry = directory + 2;
  for (size_t i = 0; i < num_entries && entry + kEntryBytes <= tiff.size();
       ++i, entry += kEntryBytes) {
    if (read16(entry) != tag) continue;
    if (read32(entry + 4) != 1) return std::nullopt;
    switch (read16(entry + 2)) {
      case kShort:
        return read16(entry + 8);
      case kLong:
        return read32(entry + 8);
      default:
        return std::nullopt;
    }
  }
  return std::nullopt;
}

int32_t ExifOrientation(std::string_view exif) {
  constexpr std::string_view kPrefix = "Exif\0\0"sv;
  if (exif.starts_with(kPrefix)) exif.remove_prefix(kPrefix.size());
  const uint32_t orientation = FindTiffInteger(exif, kTiffOrientation).value_or(1);
  return orientation >= 1 && orientation <= 8 ? static_cast<int32_t>(orientation) : 1;
}

}  // namespace parrot::internal
