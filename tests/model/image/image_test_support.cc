#include "tests/model/image/image_test_support.h"

#include <stddef.h>
#include <stdio.h>
// jpeglib.h needs stdio.h and stddef.h before it.
#include <jpeglib.h>
#include <webp/encode.h>
#include <zlib.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <iterator>
#include <random>
#include <utility>

#include "base/hash.h"
#include "gtest/gtest.h"

namespace parrot::testing {
namespace {

uint8_t At(std::string_view bytes, size_t offset) { return static_cast<uint8_t>(bytes[offset]); }
uint32_t Little16(std::string_view bytes, size_t at) {
  return At(bytes, at) | uint32_t{At(bytes, at + 1)} << 8;
}
uint32_t Little32(std::string_view bytes, size_t at) {
  return Little16(bytes, at) | Little16(bytes, at + 2) << 16;
}

std::string Bytes(uint64_t value, int num_bytes, bool big_endian) {
  std::string bytes;
  for (int i = 0; i < num_bytes; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  if (big_endian) std::reverse(bytes.begin(), bytes.end());
  return bytes;
}

// GIF's LZW: codes of growing width, least significant bit first.
std::vector<uint8_t> GifLzw(const std::string& data, int min_code_bits, size_t num_pixels) {
  const int clear = 1 << min_code_bits;
  std::vector<std::vector<uint8_t>> table;
  int code_bits = 0;
  const auto reset = [&] {
    table.assign(clear + 2, {});
    for (int i = 0; i < clear; ++i) table[i] = {static_cast<uint8_t>(i)};
    code_bits = min_code_bits + 1;
  };
  reset();
  std::vector<uint8_t> pixels;
  std::vector<uint8_t> previous;
  uint32_t bits = 0;
  int num_bits = 0;
  for (size_t i = 0; i < data.size() && pixels.size() < num_pixels; ++i) {
    bits |= uint32_t{At(data, i)} << num_bits;
    num_bits += 8;
    while (num_bits >= code_bits && pixels.size() < num_pixels) {
      const int code = static_cast<int>(bits & ((1u << code_bits) - 1));
      bits >>= code_bits;
      num_bits -= code_bits;
      if (code == clear) {
        reset();
        previous.clear();
        continue;
      }
      if (code == clear + 1) return pixels;
      std::vector<uint8_t> entry = previous;
      if (code < static_cast<int>(table.size())) {
        entry = table[code];
      } else {
        entry.push_back(previous.at(0));
      }
      if (!previous.empty() && table.size() < 4096) {
        previous.push_back(entry[0]);
        table.push_back(previous);
        if (table.size() == size_t{1} << code_bits && code_bits < 12) ++code_bits;
      }
      pixels.insert(pixels.end(), entry.begin(), entry.end());
      previous = entry;
    }
  }
  return pixels;
}

}  // namespace

TestImage RandomImage(int32_t width, int32_t height, uint32_t seed) {
  std::mt19937 random(seed);
  TestImage image = {width, height, std::vector<uint8_t>(size_t{3} * width * height)};
  for (uint8_t& value : image.pixels) value = static_cast<uint8_t>(random());
  return image;
}

RgbView View(const RgbImage& image) { return {image.pixels.get(), image.width, image.height}; }

std::string PixelsHex(RgbView image) {
  return Sha256Of(
             {reinterpret_cast<const char*>(image.pixels), size_t{3} * image.width * image.height})
      .ToHex();
}

TestImage ReadGif(std::string_view bytes) {
  size_t at = 13;
  std::string_view palette;
  const auto read_palette = [&](uint8_t flags) {
    if ((flags & 0x80) == 0) return;
    palette = bytes.substr(at, size_t{3} << ((flags & 7) + 1));
    at += palette.size();
  };
  read_palette(At(bytes, 10));
  while (At(bytes, at) == 0x21) {  // extensions
    at += 2;
    while (At(bytes, at) != 0) at += At(bytes, at) + 1;
    ++at;
  }
  TestImage image = {static_cast<int32_t>(Little16(bytes, at + 5)),
                     static_cast<int32_t>(Little16(bytes, at + 7)),
                     {}};
  const uint8_t flags = At(bytes, at + 9);
  const bool is_interlaced = (flags & 0x40) != 0;
  at += 10;
  read_palette(flags);
  const int min_code_bits = At(bytes, at++);
  std::string data;
  for (; At(bytes, at) != 0; at += At(bytes, at) + 1) data += bytes.substr(at + 1, At(bytes, at));
  const std::vector<uint8_t> indices =
      GifLzw(data, min_code_bits, size_t{1} * image.width * image.height);
  image.pixels.resize(3 * indices.size());
  auto index = indices.begin();
  for (const auto& [first, step] : {std::pair{0, 8}, {4, 8}, {2, 4}, {1, 2}}) {
    for (int y = is_interlaced ? first : 0; y < image.height; y += is_interlaced ? step : 1) {
      for (int x = 0; x < image.width; ++x, ++index) {
        for (int channel = 0; channel < 3; ++channel) {
          image.pixels.at(3 * (size_t{1} * y * image.width + x) + channel) =
              At(palette, size_t{3} * *index + channel);
        }
      }
    }
    if (!is_interlaced) break;
  }
  return image;
}

TestImage ReadBmp(std::string_view bytes) {
  TestImage image = {
      static_cast<int32_t>(Little32(bytes, 18)), static_cast<int32_t>(Little32(bytes, 22)), {}};
  EXPECT_EQ(Little16(bytes, 28), 24u);
  const size_t data = Little32(bytes, 10);
  const size_t row_bytes = (size_t{3} * image.width + 3) / 4 * 4;
  for (int32_t y = image.height - 1; y >= 0; --y) {
    for (int32_t x = 0; x < image.width; ++x) {
      for (int channel = 2; channel >= 0; --channel) {
        image.pixels.push_back(At(bytes, data + row_bytes * y + 3 * x + channel));
      }
    }
  }
  return image;
}

std::string PngChunk(std::string_view type, std::string_view payload) {
  const std::string checked = std::string(type) + std::string(payload);
  const auto checksum =
      crc32(0, reinterpret_cast<const Bytef*>(checked.data()), static_cast<uInt>(checked.size()));
  return Bytes(payload.size(), 4, true) + checked + Bytes(checksum, 4, true);
}

std::string PngHeader(uint32_t width, uint32_t height, int depth, int colour_type, int interlace) {
  std::string payload = Bytes(width, 4, true) + Bytes(height, 4, true);
  payload += static_cast<char>(depth);
  payload += static_cast<char>(colour_type);
  payload += std::string(2, '\0');
  payload += static_cast<char>(interlace);
  return PngChunk("IHDR", payload);
}

std::string Deflate(std::string_view bytes) {
  uLongf size = compressBound(bytes.size());
  std::string out(size, '\0');
  EXPECT_EQ(compress2(reinterpret_cast<Bytef*>(out.data()),
                      &size,
                      reinterpret_cast<const Bytef*>(bytes.data()),
                      bytes.size(),
                      9),
            Z_OK);
  out.resize(size);
  return out;
}

std::string MakePng(uint32_t width,
                    uint32_t height,
                    int depth,
                    int colour_type,
                    std::string_view samples,
                    std::string_view before_data) {
  const size_t row_bytes = samples.size() / height;
  std::string filtered;
  for (uint32_t y = 0; y < height; ++y) {
    filtered += '\0';
    filtered += samples.substr(y * row_bytes, row_bytes);
  }
  return std::string(kPngSignature) + PngHeader(width, height, depth, colour_type) +
         std::string(before_data) + PngChunk("IDAT", Deflate(filtered)) + PngChunk("IEND", "");
}

namespace {

// Encodes rows of `components` samples with libjpeg.
class JpegWriter {
 public:
  JpegWriter(int32_t width, int32_t height, int components, J_COLOR_SPACE space) {
    encoder_.err = jpeg_std_error(&errors_);
    jpeg_create_compress(&encoder_);
    jpeg_mem_dest(&encoder_, &buffer_, &size_);
    encoder_.image_width = static_cast<JDIMENSION>(width);
    encoder_.image_height = static_cast<JDIMENSION>(height);
    encoder_.input_components = components;
    encoder_.in_color_space = space;
    jpeg_set_defaults(&encoder_);
  }
  ~JpegWriter() {
    jpeg_destroy_compress(&encoder_);
    free(buffer_);
  }
  jpeg_compress_struct& encoder() { return encoder_; }

  std::string Write(const std::vector<uint8_t>& samples) {
    jpeg_start_compress(&encoder_, TRUE);
    const size_t row_bytes = size_t{encoder_.image_width} * encoder_.input_components;
    while (encoder_.next_scanline < encoder_.image_height) {
      auto* row = const_cast<JSAMPROW>(samples.data() + row_bytes * encoder_.next_scanline);
      jpeg_write_scanlines(&encoder_, &row, 1);
    }
    jpeg_finish_compress(&encoder_);
    return std::string(reinterpret_cast<const char*>(buffer_), size_);
  }

 private:
  jpeg_compress_struct encoder_ = {};
  jpeg_error_mgr errors_ = {};
  unsigned char* buffer_ = nullptr;
  unsigned long size_ = 0;  // libjpeg's type
};

// Grey: a DC scan, then AC scans over equal shares of the 63 coefficients.
std::vector<jpeg_scan_info> GreyScans(int num_scans) {
  std::vector<jpeg_scan_info> scans = {jpeg_scan_info{.comps_in_scan = 1}};
  const int num_ac = num_scans - 1;
  for (int i = 0; i < num_ac; ++i) {
    scans.push_back({.comps_in_scan = 1, .Ss = 1 + 63 * i / num_ac, .Se = 63 * (i + 1) / num_ac});
  }
  return scans;
}

}  // namespace

std::string MakeJpeg(RgbView image, const JpegOptions& options) {
  const bool is_grey = options.num_scans > 0;
  JpegWriter writer(image.width, image.height, is_grey ? 1 : 3, is_grey ? JCS_GRAYSCALE : JCS_RGB);
  jpeg_set_quality(&writer.encoder(), options.quality, TRUE);
  std::vector<uint8_t> samples;
  for (size_t i = 0; i < size_t{3} * image.width * image.height; i += is_grey ? 3 : 1) {
    samples.push_back(image.pixels[i]);
  }
  const std::vector<jpeg_scan_info> scans = GreyScans(std::max(options.num_scans, 2));
  if (is_grey) {
    writer.encoder().scan_info = scans.data();
    writer.encoder().num_scans = static_cast<int>(scans.size());
  } else if (options.progressive) {
    jpeg_simple_progression(&writer.encoder());
  }
  return writer.Write(samples);
}

std::string MakeCmykJpeg(int32_t width, int32_t height, const uint8_t cmyk[4], bool ycck) {
  JpegWriter writer(width, height, 4, JCS_CMYK);
  jpeg_set_colorspace(&writer.encoder(), ycck ? JCS_YCCK : JCS_CMYK);
  jpeg_set_quality(&writer.encoder(), 100, TRUE);
  std::vector<uint8_t> samples;
  for (int64_t i = 0; i < int64_t{width} * height; ++i) {
    samples.insert(samples.end(), cmyk, cmyk + 4);
  }
  return writer.Write(samples);
}

std::string JpegSegment(uint8_t marker, std::string_view payload) {
  return std::string("\xff") + static_cast<char>(marker) + Bytes(payload.size() + 2, 2, true) +
         std::string(payload);
}

std::string InsertAfterSoi(std::string_view jpeg, std::string_view segments) {
  return std::string(jpeg.substr(0, 2)) + std::string(segments) + std::string(jpeg.substr(2));
}

std::string ForgeJpegSize(std::string jpeg, uint32_t width, uint32_t height) {
  for (size_t at = 2; at + 9 < jpeg.size();) {
    const uint8_t marker = At(jpeg, at + 1);
    if (marker == 0xc0 || marker == 0xc1 || marker == 0xc2) {
      return jpeg.replace(at + 5, 4, Bytes(height, 2, true) + Bytes(width, 2, true));
    }
    at += 2 + (size_t{At(jpeg, at + 2)} << 8 | At(jpeg, at + 3));
  }
  ADD_FAILURE() << "no frame header";
  return jpeg;
}

std::string TiffInteger(uint16_t tag, uint32_t value, bool is_long, bool big_endian) {
  std::string tiff = big_endian ? std::string("MM\0*", 4) : std::string("II*\0", 4);
  tiff += Bytes(8, 4, big_endian) + Bytes(1, 2, big_endian);
  tiff += Bytes(tag, 2, big_endian) + Bytes(is_long ? 4 : 3, 2, big_endian);
  tiff += Bytes(1, 4, big_endian);
  tiff += is_long ? Bytes(value, 4, big_endian) : Bytes(value, 2, big_endian) + Bytes(0, 2, true);
  return tiff + Bytes(0, 4, big_endian);
}

std::string MakeLosslessWebp(RgbView image) {
  uint8_t* encoded = nullptr;
  const size_t size =
      WebPEncodeLosslessRGB(image.pixels, image.width, image.height, 3 * image.width, &encoded);
  std::string bytes(reinterpret_cast<const char*>(encoded), size);
  WebPFree(encoded);
  return bytes;
}

std::string RiffChunk(std::string_view type, std::string_view payload) {
  return std::string(type) + Bytes(payload.size(), 4, false) + std::string(payload) +
         std::string(payload.size() % 2, '\0');
}

std::string WebpFile(std::string_view chunks) {
  return "RIFF" + Bytes(chunks.size() + 4, 4, false) + "WEBP" + std::string(chunks);
}

}  // namespace parrot::testing
