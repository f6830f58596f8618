// Internal to model/image: one integer out of a TIFF structure, the form of EXIF and MPF metadata.
//
// Only the first directory is read, and no offset is followed but the one to it, so loops and
// chains in hostile metadata cost nothing. Pure functions, thread-safe.
#ifndef PARROT_MODEL_IMAGE_TIFF_DIRECTORY_H_
#define PARROT_MODEL_IMAGE_TIFF_DIRECTORY_H_

#include <cstdint>
#include <optional>
#include <string_view>

namespace parrot::internal {

inline constexpr uint16_t kTiffOrientation = 0x0112;
inline constexpr uint16_t kMpfNumberOfImages = 0xb001;

// The value of the SHORT or LONG entry `tag` with count 1; nullopt when absent or malformed.
// `tiff` starts at the byte order mark ("II*\0" or "MM\0*").
std::optional<uint32_t> FindTiffInteger(std::string_view tiff, uint16_t tag);

// EXIF orientation 1..8; 1 when absent or malformed. Accepts the "Exif\0\0" prefix.
int32_t ExifOrientation(std::string_view exif);

}  // namespace parrot::internal

#endif  // PARROT_MODEL_IMAGE_TIFF_DIRECTORY_H_
