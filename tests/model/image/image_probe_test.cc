// The bad-input table's image rows (22 to 29, 31 to 34), with files made here.
#include "model/image/image_probe.h"

#include <cstdint>
#include <string>
#include <vector>

#include "absl/status/statusor.h"
#include "base/error_status.h"
#include "gmock/gmock.h"
#include "gtest/gtest.h"
#include "model/image/image_decoder.h"
#include "tests/golden_reader/golden_reader.h"
#include "tests/model/image/image_test_support.h"

namespace parrot {
namespace {

using ::testing::HasSubstr;
using testing::JpegSegment;
using ::testing::Not;
using testing::PngChunk;
using testing::PngHeader;
using testing::RiffChunk;
using testing::WebpFile;
using std::string_literals::operator""s;

struct Refusal {
  std::string name;
  std::string bytes;
  std::string mime;
  std::string reason;
  std::string message_part;
};

void PrintTo(const Refusal& refusal, std::ostream* out) { *out << refusal.name; }

std::string SmallJpeg() {
  static const std::string* const jpeg =
      new std::string(testing::MakeJpeg(testing::RandomImage(40, 30, 1).view()));
  return *jpeg;
}

std::string SmallPng(std::string_view before_data = "") {
  return testing::MakePng(4, 3, 8, 2, std::string(36, 'x'), before_data);
}

std::string PngClaiming(uint32_t width, uint32_t height) {
  return std::string(testing::kPngSignature) + PngHeader(width, height, 8, 2) +
         PngChunk("IDAT", testing::Deflate("abc")) + PngChunk("IEND", "");
}

std::string SmallWebp() {
  return testing::MakeLosslessWebp(testing::RandomImage(20, 10, 2).view());
}

// The VP8X header: flags, 24-bit sides less one.
std::string Vp8x(uint8_t flags, uint32_t width, uint32_t height) {
  std::string payload(10, '\0');
  payload[0] = static_cast<char>(flags);
  for (int i = 0; i < 3; ++i) {
    payload[4 + i] = static_cast<char>((width - 1) >> (8 * i));
    payload[7 + i] = static_cast<char>((height - 1) >> (8 * i));
  }
  return RiffChunk("VP8X", payload);
}

std::string Repeated(const std::string& part, int count) {
  std::string all;
  for (int i = 0; i < count; ++i) all += part;
  return all;
}

std::string At(size_t offset, const std::string& signature) {
  return std::string(offset, '\0') + signature + std::string(200, '\0');
}

// A flat one-bit PNG at deflate's best: `side` x `side` pixels.
std::string OneBitPng(uint32_t side) {
  return testing::MakePng(side, side, 1, 0, std::string(size_t{side} / 8 * side, '\0'));
}

std::vector<Refusal> UnrecognisedRows() {
  std::vector<Refusal> rows;
  const auto add = [&](const std::string& name, const std::string& bytes) {
    rows.push_back({name, bytes, "", kImageFormat, "unsupported or unrecognised format"});
  };
  add("empty", "");
  add("one_byte", "\xff");
  add("jpeg_magic_only", "\xff\xd8\xff");
  add("png_magic_only", std::string(testing::kPngSignature));
  add("webp_magic_only", "RIFF\x04\0\0\0WEBP"s);
  add("text", "This is a text about a picture, not one.");
  add("svg", "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"9\" height=\"9\"></svg>");
  add("html", "<!doctype html><html><body><img src=x></body></html>");
  add("zip", "PK\x03\x04"s + std::string(60, '\0'));
  add("riff_wave", "RIFF\x40\0\0\0WAVEfmt "s + std::string(60, '\0'));
  return rows;
}

std::vector<Refusal> NotEnabledRows() {
  std::vector<Refusal> rows;
  const auto add = [&](const std::string& name, const std::string& bytes) {
    rows.push_back({name, bytes, "", kImageFormat, "format not enabled (jpeg,png,webp)"});
  };
  add("gif", At(0, "GIF89a"));
  add("bmp", At(0, "BM\x40\0\0\0\0\0\0\0\x36"s));
  add("tiff_little", At(0, "II*\0"s));
  add("tiff_big", At(0, "MM\0*"s));
  add("exr", At(0, "\x76\x2f\x31\x01"));
  add("hdr", At(0, "#?RADIANCE\n"));
  add("jp2", At(0, "\0\0\0\x0cjP  \r\n\x87\n"s));
  add("pnm", At(0, "P6\n9 9\n255\n"));
  add("sun_raster", At(0, "\x59\xa6\x6a\x95"));
  add("dicom", At(128, "DICM"));
  add("avif", At(4, "ftypavif"));
  add("heic", At(4, "ftypheic"));
  add("jxl", At(0, "\0\0\0\x0cJXL \r\n\x87\n"s));
  add("jxl_code_stream", At(0, "\xff\x0a"));
  return rows;
}

std::vector<Refusal> MimeRows() {
  return {
      {"jpeg_as_png", SmallJpeg(), "image/png", kImageMimeMismatch, "declared as image/png"},
      {"png_as_jpeg", SmallPng(), "image/jpeg", kImageMimeMismatch, "bytes are image/png"},
      {"webp_as_jpeg", SmallWebp(), "image/jpeg", kImageMimeMismatch, "bytes are image/webp"},
      {"other_type", SmallPng(), "secret/text", kImageMimeMismatch, "declared as another type"},
      {"jpeg_named_png",
       ReadGoldenFile("bad_images/files/jpeg_named.png"),
       "image/png",
       kImageMimeMismatch,
       "bytes are image/jpeg"},
  };
}

std::vector<Refusal> SizeRows() {
  const std::string too_large = kImageTooLarge;
  return {
      {"sof_30000x30000",
       testing::ForgeJpegSize(SmallJpeg(), 30000, 30000),
       "",
       too_large,
       "30000x30000 exceeds 33.5 MP"},
      {"sof_65535x1",
       testing::ForgeJpegSize(SmallJpeg(), 65535, 1),
       "",
       too_large,
       "65535x1 exceeds 16384 pixels per side"},
      {"sof_0x30", testing::ForgeJpegSize(SmallJpeg(), 0, 30), "", kImageZeroSize, "0x30"},
      {"sof_40x0", testing::ForgeJpegSize(SmallJpeg(), 40, 0), "", kImageZeroSize, "40x0"},
      {"ihdr_30000x30000", PngClaiming(30000, 30000), "", too_large, "exceeds 33.5 MP"},
      {"ihdr_overflow",
       PngClaiming(0xffffffff, 0xffffffff),
       "",
       too_large,
       "4294967295x4294967295 exceeds 33.5 MP"},
      {"ihdr_overflow_to_zero", PngClaiming(1u << 31, 1u << 31), "", too_large, "33.5 MP"},
      {"ihdr_20000x1", PngClaiming(20000, 1), "", too_large, "20000x1"},
      {"ihdr_1x16385", PngClaiming(1, 16385), "", too_large, "1x16385"},
      {"ihdr_0x9", PngClaiming(0, 9), "", kImageZeroSize, "0x9"},
      {"ihdr_9x0", PngClaiming(9, 0), "", kImageZeroSize, "9x0"},
      {"vp8x_16777216x16777216",
       WebpFile(Vp8x(0, 1 << 24, 1 << 24) + SmallWebp().substr(12)),
       "",
       too_large,
       "16777216x16777216"},
      {"vp8_0x0",
       WebpFile(RiffChunk("VP8 ", "\x10\0\0\x9d\x01\x2a\0\0\0\0"s + std::string(20, 'x'))),
       "",
       kImageZeroSize,
       "0x0"},
      {"vp8_16383x16383",
       WebpFile(RiffChunk("VP8 ", "\x10\0\0\x9d\x01\x2a\xff\x3f\xff\x3f"s + std::string(20, 'x'))),
       "",
       too_large,
       "16383x16383"},
      {"vp8l_16384x16384",
       WebpFile(RiffChunk("VP8L", "\x2f\xff\xff\xff\x0f"s + std::string(20, 'x'))),
       "",
       too_large,
       "16384x16384"},
      {"eleven_megabytes",
       SmallJpeg() + std::string(11 << 20, '\0'),
       "",
       too_large,
       "limit 10485760"},
  };
}

std::vector<Refusal> CostRows() {
  const testing::TestImage noise = testing::RandomImage(64, 64, 3);
  const std::string icc = "ICC_PROFILE\0"s + std::string(65000, 'i');
  const std::string exif = "Exif\0\0"s + std::string(65000, 'e');
  const std::string zeros(4 << 20, '\0');
  const std::string bomb = testing::Deflate(zeros);
  return {
      {"forged_jpeg_5000x5000",
       testing::ForgeJpegSize(SmallJpeg(), 5000, 5000),
       "",
       kImageImplausible,
       "implausible compression"},
      {"forged_png_5000x5000", PngClaiming(5000, 5000), "", kImageImplausible, "limit 8300"},
      {"scans_65",
       [&] {  // its last scan written twice
         std::string jpeg = testing::MakeJpeg(noise.view(), {.num_scans = 64});
         const size_t scan = jpeg.rfind("\xff\xda");
         return jpeg.insert(scan, jpeg.substr(scan, jpeg.size() - 2 - scan));
       }(),
       "",
       kImageTooComplex,
       "too many scans: 65, limit 64"},
      {"scan_bomb",
       ReadGoldenFile("bad_images/files/scan_bomb_2048.jpg"),
       "",
       kImageTooComplex,
       "too many scans"},
      {"markers_1001",
       testing::InsertAfterSoi(SmallJpeg(), Repeated(JpegSegment(0xfe, "note"), 1001)),
       "",
       kImageTooComplex,
       "too many markers: 1001, limit 1000"},
      {"icc_1_mb",
       testing::InsertAfterSoi(SmallJpeg(), Repeated(JpegSegment(0xe2, icc), 17)),
       "",
       kImageTooComplex,
       "too much metadata, bytes of ICC profile"},
      {"exif_1_mb",
       testing::InsertAfterSoi(SmallJpeg(), Repeated(JpegSegment(0xe1, exif), 17)),
       "",
       kImageTooComplex,
       "too much metadata, bytes of EXIF"},
      {"png_chunks_1001",
       SmallPng(Repeated(PngChunk("tEXt", "k\0v"s), 1000)),
       "",
       kImageTooComplex,
       "too many chunks: 1001, limit 1000"},
      {"png_small_idat_chunks",
       std::string(testing::kPngSignature) + PngHeader(4, 4, 8, 2) +
           Repeated(PngChunk("IDAT", "x"), 1000) + PngChunk("IEND", ""),
       "",
       kImageTooComplex,
       "too many chunks"},
      {"iccp_bomb",
       SmallPng(PngChunk("iCCP", "profile\0\0"s + bomb)),
       "",
       kImageTooComplex,
       "too much metadata, bytes of inflated"},
      {"ztxt_bomb",
       SmallPng(PngChunk("zTXt", "key\0\0"s + bomb)),
       "",
       kImageTooComplex,
       "too much metadata"},
      {"itxt_bomb",
       SmallPng(PngChunk("iTXt", "key\0\1\0en\0schluessel\0"s + bomb)),
       "",
       kImageTooComplex,
       "too much metadata"},
      {"many_small_bombs",
       SmallPng(
           Repeated(PngChunk("zTXt", "key\0\0"s + testing::Deflate(zeros.substr(0, 1 << 16))), 17)),
       "",
       kImageTooComplex,
       "too much metadata"},
      {"png_exif_1_mb",
       SmallPng(PngChunk("eXIf", std::string((1 << 20) + 1, 'e'))),
       "",
       kImageTooComplex,
       "too much metadata, bytes of EXIF"},
      {"webp_icc_1_mb",
       WebpFile(Vp8x(0x20, 20, 10) + RiffChunk("ICCP", std::string((1 << 20) + 1, 'i')) +
                SmallWebp().substr(12)),
       "",
       kImageTooComplex,
       "too much metadata"},
      {"webp_chunks_1001",
       WebpFile(Vp8x(0, 20, 10) + Repeated(RiffChunk("junk", "ab"), 1000) + SmallWebp().substr(12)),
       "",
       kImageTooComplex,
       "too many chunks"},
  };
}

std::vector<Refusal> IntegrityRows() {
  std::vector<Refusal> rows;
  const std::string jpeg = testing::MakeJpeg(testing::RandomImage(80, 60, 4).view());
  const std::string png = testing::MakePng(60, 40, 8, 2, std::string(60 * 40 * 3, 'q'));
  const std::string webp = testing::MakeLosslessWebp(testing::RandomImage(60, 40, 5).view());
  for (const int percent : {10, 50, 99}) {
    const std::string name = "_cut_at_" + std::to_string(percent);
    const auto cut = [&](const std::string& bytes) {
      return bytes.substr(0, bytes.size() * percent / 100);
    };
    rows.push_back({"jpeg" + name, cut(jpeg), "", kImageTruncated, "truncated"});
    rows.push_back({"webp" + name, cut(webp), "", kImageTruncated, "truncated"});
  }
  rows.push_back(
      {"png_cut_at_50", png.substr(0, png.size() / 2), "", kImageTruncated, "truncated"});
  // One bit of each of the checksums: IHDR (ends at 33), IDAT (12 before IEND's 12), IEND.
  for (const size_t at : {size_t{32}, png.size() - 13, png.size() - 1}) {
    std::string flipped = png;
    flipped[at] = static_cast<char>(flipped[at] ^ 1);
    rows.push_back({"png_crc_flip_" + std::to_string(at), flipped, "", kImageCorrupt, "checksum"});
  }
  rows.push_back(
      {"jpeg_no_eoi", jpeg.substr(0, jpeg.size() - 2), "", kImageTruncated, "truncated"});
  rows.push_back({"jpeg_garbage_between_markers",
                  testing::InsertAfterSoi(jpeg, JpegSegment(0xfe, "note") + "garbage"),
                  "",
                  kImageCorrupt,
                  "bytes between markers"});
  rows.push_back({"jpeg_lossless_process",
                  [&] {
                    std::string lossless = jpeg;
                    lossless[lossless.find("\xff\xc0") + 1] = '\xc3';
                    return lossless;
                  }(),
                  "",
                  kImageFormat,
                  "not supported"});
  rows.push_back({"png_palette_missing",
                  testing::MakePng(2, 2, 8, 3, std::string(4, '\0')),
                  "",
                  kImageCorrupt,
                  "no palette"});
  rows.push_back({"webp_bytes_that_are_no_chunk",
                  WebpFile(SmallWebp().substr(12) + "abcd"),
                  "",
                  kImageCorrupt,
                  "corrupt WebP header"});
  rows.push_back({"webp_alpha_apart_from_its_picture",
                  WebpFile(Vp8x(0x10, 20, 10) + RiffChunk("ALPH", "\0abc"s) +
                           RiffChunk("junk", "ab") + SmallWebp().substr(12)),
                  "",
                  kImageCorrupt,
                  "corrupt WebP header"});
  rows.push_back({"png_profile_of_unknown_compression",
                  SmallPng(PngChunk("iCCP", "profile\0\1"s + testing::Deflate("x"))),
                  "",
                  kImageCorrupt,
                  "compression method"});
  rows.push_back({"webp_canvas_differs",
                  WebpFile(Vp8x(0, 21, 10) + SmallWebp().substr(12)),
                  "",
                  kImageCorrupt,
                  "corrupt WebP header"});
  return rows;
}

std::vector<Refusal> PluralRows() {
  const std::string three_frames = PngChunk("acTL", "\0\0\0\3\0\0\0\0"s);
  const std::string mpf = "MPF\0"s + testing::TiffInteger(0xb001, 2, true, true);
  return {
      {"apng", SmallPng(three_frames), "", kImageAnimated, "animated"},
      {"animated_webp_flag",
       WebpFile(Vp8x(0x02, 20, 10) + SmallWebp().substr(12)),
       "",
       kImageAnimated,
       "animated"},
      {"webp_frame_chunk",
       WebpFile(SmallWebp().substr(12) + RiffChunk("ANMF", std::string(40, '\0'))),
       "",
       kImageAnimated,
       "animated"},
      {"webp_two_pictures",
       WebpFile(SmallWebp().substr(12) + SmallWebp().substr(12)),
       "",
       kImageAnimated,
       "multi-image"},
      {"mpo",
       testing::InsertAfterSoi(SmallJpeg(), JpegSegment(0xe2, mpf)),
       "",
       kImageAnimated,
       "multi-image"},
  };
}

std::vector<Refusal> TrailingRows() {
  const std::string tail((64 << 10) + 1, 'z');
  std::vector<Refusal> rows;
  for (const std::string& bytes : {SmallJpeg(), SmallPng(), SmallWebp()}) {
    rows.push_back({"tail_after_" + std::to_string(rows.size()),
                    bytes + tail,
                    "",
                    kImageTrailingData,
                    "too many bytes after the end of the image: 65537, limit 65536"});
  }
  return rows;
}

class ImageRefusalTest : public ::testing::TestWithParam<Refusal> {};

TEST_P(ImageRefusalTest, IsInvalidArgumentThatNamesTheRule) {
  const Refusal& row = GetParam();
  const absl::StatusOr<ImageInfo> info = ProbeImage(row.bytes, row.mime, ImageLimits());
  ASSERT_FALSE(info.ok());
  EXPECT_EQ(info.status().code(), absl::StatusCode::kInvalidArgument);
  const ErrorFacts facts = GetErrorFacts(info.status());
  EXPECT_EQ(facts.reason, row.reason);
  EXPECT_EQ(facts.field, "");
  const std::string message(info.status().message());
  EXPECT_THAT(message, HasSubstr(row.message_part));
  EXPECT_LE(message.size(), 512u);
  // Nothing of the client's own text.
  EXPECT_THAT(message, Not(HasSubstr("secret")));
  EXPECT_THAT(facts.value, Not(HasSubstr("secret")));
  // The decoder's door says the same.
  const absl::StatusOr<DecodedImage> decoded = DecodeImage(row.bytes, row.mime, {});
  EXPECT_EQ(decoded.status(), info.status());
}

std::string RowName(const ::testing::TestParamInfo<Refusal>& info) { return info.param.name; }

INSTANTIATE_TEST_SUITE_P(Row22, ImageRefusalTest, ::testing::ValuesIn(UnrecognisedRows()), RowName);
INSTANTIATE_TEST_SUITE_P(Row23, ImageRefusalTest, ::testing::ValuesIn(NotEnabledRows()), RowName);
INSTANTIATE_TEST_SUITE_P(Row24, ImageRefusalTest, ::testing::ValuesIn(MimeRows()), RowName);
INSTANTIATE_TEST_SUITE_P(Row25, ImageRefusalTest, ::testing::ValuesIn(SizeRows()), RowName);
INSTANTIATE_TEST_SUITE_P(Rows26And27, ImageRefusalTest, ::testing::ValuesIn(CostRows()), RowName);
INSTANTIATE_TEST_SUITE_P(Row28, ImageRefusalTest, ::testing::ValuesIn(IntegrityRows()), RowName);
INSTANTIATE_TEST_SUITE_P(Row29, ImageRefusalTest, ::testing::ValuesIn(PluralRows()), RowName);
INSTANTIATE_TEST_SUITE_P(Row33, ImageRefusalTest, ::testing::ValuesIn(TrailingRows()), RowName);

// What stands at a limit, or only looks suspicious, is taken.
struct Acceptance {
  std::string name;
  std::string bytes;
  std::string mime;
};

void PrintTo(const Acceptance& row, std::ostream* out) { *out << row.name; }

std::vector<Acceptance> Acceptances() {
  const std::string one_frame = PngChunk("acTL", "\0\0\0\1\0\0\0\0"s);
  const std::string one_picture = "MPF\0"s + testing::TiffInteger(0xb001, 1, true, false);
  const std::string looping_exif = "Exif\0\0MM\0*\0\0\0\x08\xff\xff"s + std::string(40, '\xff');
  const testing::TestImage noise = testing::RandomImage(64, 64, 3);
  const testing::TestImage row = testing::RandomImage(16384, 1, 6);
  return {
      {"jpeg_with_its_type", SmallJpeg(), "image/jpeg"},
      {"jpeg_alias", SmallJpeg(), "image/jpg"},
      {"type_in_capitals_with_parameter", SmallPng(), " IMAGE/PNG ; q=1"},
      {"webp_with_its_type", SmallWebp(), "image/webp"},
      {"jpeg_named_png", ReadGoldenFile("bad_images/files/jpeg_named.png"), ""},
      {"scans_64", testing::MakeJpeg(noise.view(), {.num_scans = 64}), ""},
      {"markers_1000",
       testing::InsertAfterSoi(SmallJpeg(), Repeated(JpegSegment(0xfe, "note"), 990)),
       ""},
      {"jpeg_fill_bytes_between_markers", testing::InsertAfterSoi(SmallJpeg(), "\xff\xff\xff"), ""},
      {"flat_one_bit_png", OneBitPng(4096), ""},
      {"one_frame_apng", SmallPng(one_frame), ""},
      {"one_picture_mpf", testing::InsertAfterSoi(SmallJpeg(), JpegSegment(0xe2, one_picture)), ""},
      {"bad_exif", testing::InsertAfterSoi(SmallJpeg(), JpegSegment(0xe1, looping_exif)), ""},
      {"row_of_16384", testing::MakePng(16384, 1, 8, 2, std::string(16384 * 3, 'r')), ""},
      {"jpeg_row_of_16384", testing::MakeJpeg(row.view()), ""},
      {"tail_64_kb", SmallPng() + std::string(64 << 10, 'z'), ""},
      {"polyglot_zip_tail", SmallJpeg() + "PK\x03\x04 and more", ""},
      {"webp_tail", SmallWebp() + std::string(1000, 'z'), ""},
      {"many_large_idat_chunks",
       [] {  // stored blocks, split at 8 KiB as libpng does
         std::string samples = testing::MakePng(1, 1, 8, 2, "abc");
         const testing::TestImage image = testing::RandomImage(2000, 1400, 7);
         std::string filtered;
         for (int y = 0; y < 1400; ++y) {
           filtered += '\0';
           filtered.append(reinterpret_cast<const char*>(image.pixels.data()) + 6000 * y, 6000);
         }
         const std::string data = testing::Deflate(filtered);
         std::string png = std::string(testing::kPngSignature) + PngHeader(2000, 1400, 8, 2);
         for (size_t at = 0; at < data.size(); at += 8192) {
           png += PngChunk("IDAT", data.substr(at, 8192));
         }
         return png + PngChunk("IEND", "");
       }(),
       ""},
  };
}

class ImageAcceptanceTest : public ::testing::TestWithParam<Acceptance> {};

TEST_P(ImageAcceptanceTest, Decodes) {
  const absl::StatusOr<DecodedImage> image = DecodeImage(GetParam().bytes, GetParam().mime, {});
  EXPECT_TRUE(image.ok()) << image.status();
}

INSTANTIATE_TEST_SUITE_P(AtTheLimits,
                         ImageAcceptanceTest,
                         ::testing::ValuesIn(Acceptances()),
                         [](const auto& info) { return info.param.name; });

TEST(ImageProbeTest, LimitsAreOptionsAndErrorsCarryValueAndLimit) {
  ImageLimits limits;
  limits.max_pixels = 1000;
  const ErrorFacts pixels = GetErrorFacts(ProbeImage(SmallJpeg(), "", limits).status());
  EXPECT_EQ(pixels.value, "40x30");
  EXPECT_EQ(pixels.limit, "1000");
  limits = {};
  limits.max_side = 39;
  const ErrorFacts side = GetErrorFacts(ProbeImage(SmallJpeg(), "", limits).status());
  EXPECT_EQ(side.value, "40x30");
  EXPECT_EQ(side.limit, "39");
}

TEST(ImageProbeTest, ReadsOrientationOfEveryContainer) {
  const std::string tiff = testing::TiffInteger(0x0112, 6, false, true);
  const std::vector<std::string> images = {
      testing::InsertAfterSoi(SmallJpeg(), JpegSegment(0xe1, "Exif\0\0"s + tiff)),
      SmallPng(PngChunk("eXIf", tiff)),
      WebpFile(Vp8x(0x08, 20, 10) + SmallWebp().substr(12) + RiffChunk("EXIF", tiff)),
      WebpFile(Vp8x(0x08, 20, 10) + SmallWebp().substr(12) + RiffChunk("EXIF", "Exif\0\0"s + tiff)),
  };
  for (const std::string& image : images) {
    const absl::StatusOr<ImageInfo> info = ProbeImage(image, "", ImageLimits());
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->orientation, 6);
  }
}

TEST(ImageProbeTest, UnusableOrientationIsUpright) {
  for (const std::string& tiff : {testing::TiffInteger(0x0112, 9, false, true),
                                  testing::TiffInteger(0x0112, 0, false, false),
                                  testing::TiffInteger(0x0113, 6, false, false),
                                  testing::TiffInteger(0x0112, 6, false, false).substr(0, 12),
                                  std::string("II*\0\xff\xff\xff\xff", 8),
                                  std::string("XX*\0", 4),
                                  std::string()}) {
    const absl::StatusOr<ImageInfo> info =
        ProbeImage(SmallPng(PngChunk("eXIf", tiff)), "", ImageLimits());
    ASSERT_TRUE(info.ok()) << info.status();
    EXPECT_EQ(info->orientation, 1);
  }
}

TEST(ImageTotalsTest, RefusesCountBytesAndPixelsOverTheRequestsLimits) {
  const ImageLimits limits;
  EXPECT_TRUE(
      CheckImageTotals({.images = 1, .encoded_bytes = 12 << 20, .pixels = 1 << 26}, limits).ok());
  const absl::Status count = CheckImageTotals({.images = 2}, limits);
  EXPECT_EQ(count.code(), absl::StatusCode::kInvalidArgument);
  EXPECT_EQ(GetErrorFacts(count).reason, kImageCount);
  EXPECT_EQ(count.message(), "too many images: 2, limit 1");
  const absl::Status bytes = CheckImageTotals({.images = 1, .encoded_bytes = 13 << 20}, limits);
  EXPECT_EQ(bytes.message(), "too many bytes in all images: 13631488, limit 12582912");
  const absl::Status pixels = CheckImageTotals({.images = 1, .pixels = (1 << 26) + 1}, limits);
  EXPECT_EQ(pixels.message(), "too many pixels in all images: 67108865, limit 67108864");
}

}  // namespace
}  // namespace parrot
