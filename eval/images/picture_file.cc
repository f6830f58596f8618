#include "eval/images/picture_file.h"

#include <cstddef>
#include <cstdint>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/image/image_probe.h"

namespace parrot {
namespace {

absl::Status Refuse(const char* reason, std::string_view what) {
  return ErrorStatus(absl::StatusCode::kInvalidArgument, what, {.reason = reason});
}

absl::Status Truncated() { return Refuse(kImageTruncated, "the picture ends before its end"); }

absl::Status CheckSize(int64_t width, int64_t height) {
  const ImageLimits limits;
  if (width < 1 || height < 1) return Refuse(kImageZeroSize, "a side of the picture is 0");
  if (width > limits.max_side || height > limits.max_side || width * height > limits.max_pixels) {
    return Refuse(kImageTooLarge, "the picture has too many pixels");
  }
  return absl::OkStatus();
}

// Little-endian numbers one after the other; past the end they are 0 and ok() false.
class ByteReader {
 public:
  explicit ByteReader(std::string_view bytes) : bytes_(bytes) {}

  bool ok() const { return ok_; }
  void SkipTo(size_t position) { position_ = position; }
  void Skip(size_t count) { position_ += count; }
  uint32_t Take(int num_bytes) {
    uint32_t value = 0;
    for (int i = 0; i < num_bytes; ++i) {
      if (position_ >= bytes_.size()) {
        ok_ = false;
        return 0;
      }
      value |= static_cast<uint32_t>(static_cast<uint8_t>(bytes_[position_++])) << (8 * i);
    }
    return value;
  }
  std::string_view TakeBytes(size_t count) {
    if (position_ > bytes_.size() || bytes_.size() - position_ < count) {
      ok_ = false;
      return {};
    }
    position_ += count;
    return bytes_.substr(position_ - count, count);
  }

 private:
  const std::string_view bytes_;
  size_t position_ = 0;
  bool ok_ = true;
};

struct Colour {
  uint8_t red = 0;
  uint8_t green = 0;
  uint8_t blue = 0;
};

void Paint(const std::vector<Colour>& palette, size_t index, uint8_t* pixel) {
  const Colour colour = index < palette.size() ? palette[index] : Colour();
  pixel[0] = colour.red;
  pixel[1] = colour.green;
  pixel[2] = colour.blue;
}

// --- GIF ---

std::vector<Colour> TakeGifPalette(uint32_t flags, ByteReader* reader) {
  std::vector<Colour> palette;
  if ((flags & 0x80) == 0) return palette;
  palette.resize(size_t{2} << (flags & 7));
  for (Colour& colour : palette) {
    colour.red = static_cast<uint8_t>(reader->Take(1));
    colour.green = static_cast<uint8_t>(reader->Take(1));
    colour.blue = static_cast<uint8_t>(reader->Take(1));
  }
  return palette;
}

// The sub-blocks up to the empty one, joined.
std::string TakeGifBlocks(ByteReader* reader) {
  std::string data;
  for (uint32_t size = reader->Take(1); size > 0; size = reader->Take(1)) {
    data += reader->TakeBytes(size);
    if (!reader->ok()) break;
  }
  return data;
}

// GIF's LZW: codes of growing width, each a sequence of indexes: an earlier sequence and one more.
class GifUnpacker {
 public:
  explicit GifUnpacker(uint32_t min_code_bits)
      : min_code_bits_(min_code_bits), clear_(size_t{1} << min_code_bits) {
    Clear();
    for (size_t i = 0; i < clear_; ++i) {
      const auto index = static_cast<uint8_t>(i);
      sequences_[i] = {.last = index, .first = index, .length = 1};
    }
  }

  // Exactly `num_pixels` indexes, or nothing for damaged data.
  std::optional<std::vector<uint8_t>> Unpack(const std::string& data, size_t num_pixels) {
    std::vector<uint8_t> pixels;
    uint32_t bits = 0;
    uint32_t num_bits = 0;
    for (size_t at = 0; pixels.size() < num_pixels;) {
      for (; num_bits < code_bits_ && at < data.size(); num_bits += 8) {
        bits |= static_cast<uint32_t>(static_cast<uint8_t>(data[at++])) << num_bits;
      }
      if (num_bits < code_bits_) return std::nullopt;
      const size_t code = bits & ((uint32_t{1} << code_bits_) - 1);
      bits >>= code_bits_;
      num_bits -= code_bits_;
      if (code == clear_) {
        Clear();
      } else if (!Take(code, &pixels)) {
        return std::nullopt;
      }
    }
    pixels.resize(num_pixels);
    return pixels;
  }

 private:
  static constexpr size_t kMostCodes = 4096;
  static constexpr uint32_t kMostCodeBits = 12;
  static constexpr size_t kNone = kMostCodes;

  struct Sequence {
    size_t prefix = 0;
    uint8_t last = 0;
    uint8_t first = 0;
    size_t length = 0;
  };

  void Clear() {
    sequences_.resize(clear_ + 2);
    code_bits_ = min_code_bits_ + 1;
    previous_ = kNone;
  }

  bool Take(size_t code, std::vector<uint8_t>* pixels) {
    // A code may be the one that is just being defined: then it ends as it begins.
    const bool is_new = previous_ != kNone && code == sequences_.size();
    if (code == clear_ + 1 || (code >= sequences_.size() && !is_new)) return false;
    if (previous_ != kNone && sequences_.size() < kMostCodes) {
      const Sequence before = sequences_[previous_];
      const uint8_t last = is_new ? before.first : sequences_[code].first;
      sequences_.push_back({previous_, last, before.first, before.length + 1});
      const bool is_full = sequences_.size() == size_t{1} << code_bits_;
      if (is_full && code_bits_ < kMostCodeBits) ++code_bits_;
    }
    if (code >= sequences_.size()) return false;
    const size_t begin = pixels->size();
    pixels->resize(begin + sequences_[code].length);
    size_t sequence = code;
    for (size_t i = pixels->size(); i > begin; sequence = sequences_[sequence].prefix) {
      (*pixels)[--i] = sequences_[sequence].last;
    }
    previous_ = code;
    return true;
  }

  const uint32_t min_code_bits_;
  const size_t clear_;
  std::vector<Sequence> sequences_;
  uint32_t code_bits_ = 0;
  size_t previous_ = kNone;
};

// Rows of an interlaced frame: every eighth, those between, and so on.
std::vector<int32_t> GifRows(int32_t height, bool interlaced) {
  std::vector<int32_t> rows;
  const std::vector<std::pair<int32_t, int32_t>> passes =
      interlaced ? std::vector<std::pair<int32_t, int32_t>>{{0, 8}, {4, 8}, {2, 4}, {1, 2}}
                 : std::vector<std::pair<int32_t, int32_t>>{{0, 1}};
  for (const auto& [first, step] : passes) {
    for (int32_t row = first; row < height; row += step) rows.push_back(row);
  }
  return rows;
}

// Skips extensions. False at the end of the file or of the pictures.
bool FindGifFrame(ByteReader* reader) {
  while (reader->ok()) {
    const uint32_t block = reader->Take(1);
    if (block == ',') return reader->ok();
    if (block != '!') return false;
    reader->Skip(1);
    TakeGifBlocks(reader);
  }
  return false;
}

// --- BMP ---

std::vector<Colour> TakeBmpPalette(size_t num_colours, ByteReader* reader) {
  std::vector<Colour> palette(num_colours);
  for (Colour& colour : palette) {
    colour.blue = static_cast<uint8_t>(reader->Take(1));
    colour.green = static_cast<uint8_t>(reader->Take(1));
    colour.red = static_cast<uint8_t>(reader->Take(1));
    reader->Skip(1);
  }
  return palette;
}

void PaintBmpRow(std::string_view row,
                 uint32_t bits,
                 const std::vector<Colour>& palette,
                 int32_t width,
                 uint8_t* pixels) {
  const auto byte = [&](size_t i) { return static_cast<uint8_t>(row[i]); };
  for (int32_t x = 0; x < width; ++x, pixels += 3) {
    const auto column = static_cast<size_t>(x);
    if (bits >= 24) {
      const size_t at = column * (bits / 8);
      pixels[0] = byte(at + 2);
      pixels[1] = byte(at + 1);
      pixels[2] = byte(at);
      continue;
    }
    const size_t shift = 8 - bits - column * bits % 8;
    Paint(palette, (byte(column * bits / 8) >> shift) & ((1U << bits) - 1), pixels);
  }
}

absl::StatusOr<RgbImage> DecodeGif(std::string_view encoded) {
  ByteReader reader(encoded);
  reader.Skip(6);
  const auto screen_width = static_cast<int32_t>(reader.Take(2));
  const auto screen_height = static_cast<int32_t>(reader.Take(2));
  const uint32_t screen_flags = reader.Take(1);
  const uint32_t background = reader.Take(1);
  reader.Skip(1);
  std::vector<Colour> palette = TakeGifPalette(screen_flags, &reader);
  if (!FindGifFrame(&reader)) return Truncated();
  const auto left = static_cast<int32_t>(reader.Take(2));
  const auto top = static_cast<int32_t>(reader.Take(2));
  const auto width = static_cast<int32_t>(reader.Take(2));
  const auto height = static_cast<int32_t>(reader.Take(2));
  const uint32_t flags = reader.Take(1);
  RETURN_IF_ERROR(CheckSize(screen_width, screen_height));
  RETURN_IF_ERROR(CheckSize(width, height));
  if (left + width > screen_width || top + height > screen_height) {
    return Refuse(kImageCorrupt, "the first frame is larger than the picture");
  }
  const std::vector<Colour> own_palette = TakeGifPalette(flags, &reader);
  if (!own_palette.empty()) palette = own_palette;
  const uint32_t min_code_bits = reader.Take(1);
  const std::string data = TakeGifBlocks(&reader);
  if (!reader.ok()) return Truncated();
  if (min_code_bits < 1 || min_code_bits > 11) return Refuse(kImageCorrupt, "no code width");
  const auto indexes = GifUnpacker(min_code_bits)
                           .Unpack(data, static_cast<size_t>(width) * static_cast<size_t>(height));
  if (!indexes.has_value()) return Refuse(kImageCorrupt, "the picture is damaged");
  RgbImage image = AllocateRgbImage(screen_width, screen_height);
  for (size_t i = 0; i < image.size_bytes(); i += 3) {
    Paint(palette, background, image.pixels.get() + i);
  }
  const uint8_t* index = indexes->data();
  for (const int32_t row : GifRows(height, (flags & 0x40) != 0)) {
    const size_t begin = static_cast<size_t>(top + row) * static_cast<size_t>(screen_width) +
                         static_cast<size_t>(left);
    for (int32_t x = 0; x < width; ++x) {
      Paint(palette, *index++, image.pixels.get() + 3 * (begin + static_cast<size_t>(x)));
    }
  }
  return image;
}

absl::StatusOr<RgbImage> DecodeBmp(std::string_view encoded) {
  ByteReader reader(encoded);
  reader.Skip(10);
  const uint32_t pixels_begin = reader.Take(4);
  const uint32_t header_bytes = reader.Take(4);
  const auto width = static_cast<int32_t>(reader.Take(4));
  const auto signed_height = static_cast<int32_t>(reader.Take(4));
  reader.Skip(2);
  const uint32_t bits = reader.Take(2);
  const uint32_t compression = reader.Take(4);
  reader.Skip(12);
  uint32_t num_colours = reader.Take(4);
  if (!reader.ok()) return Truncated();
  const bool known_bits = bits == 1 || bits == 4 || bits == 8 || bits == 24 || bits == 32;
  if (header_bytes < 40 || compression != 0 || !known_bits) {
    return Refuse(kImageFormat, "a BMP of this kind is not read");
  }
  const int64_t height = signed_height < 0 ? -int64_t{signed_height} : signed_height;
  RETURN_IF_ERROR(CheckSize(width, height));
  std::vector<Colour> palette;
  if (bits <= 8) {
    if (num_colours == 0 || num_colours > (1U << bits)) num_colours = 1U << bits;
    reader.SkipTo(size_t{14} + header_bytes);
    palette = TakeBmpPalette(num_colours, &reader);
  }
  reader.SkipTo(pixels_begin);
  const size_t row_bytes = (static_cast<size_t>(width) * bits + 31) / 32 * 4;
  RgbImage image = AllocateRgbImage(width, static_cast<int32_t>(height));
  for (int64_t i = 0; i < height; ++i) {
    const std::string_view row = reader.TakeBytes(row_bytes);
    if (!reader.ok()) return Truncated();
    const int64_t y = signed_height < 0 ? i : height - 1 - i;  // from the bottom up
    PaintBmpRow(row,
                bits,
                palette,
                width,
                image.pixels.get() + static_cast<size_t>(y) * static_cast<size_t>(width) * 3);
  }
  return image;
}

}  // namespace

absl::StatusOr<RgbImage> DecodePictureFile(std::string_view encoded) {
  if (encoded.size() > ImageLimits().max_encoded_bytes) {
    return Refuse(kImageTooLarge, "the picture has too many bytes");
  }
  if (encoded.starts_with("GIF87a") || encoded.starts_with("GIF89a")) return DecodeGif(encoded);
  if (encoded.starts_with("BM")) return DecodeBmp(encoded);
  ASSIGN_OR_RETURN(DecodedImage decoded, DecodeImage(encoded, /*declared_mime=*/"", {}));
  return std::move(decoded.rgb);
}

}  // namespace parrot
