#include "tests/golden_reader/golden_reader.h"

#include <lzma.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <fstream>
#include <iterator>

#include "base/check.h"

namespace parrot {
namespace {

// Our files are below 10 MB; the bound keeps a damaged header from asking for more.
constexpr uint64_t kDecoderMemoryLimitBytes = uint64_t{256} << 20;

std::string Decompress(const std::string& compressed, std::string_view name) {
  lzma_stream stream = LZMA_STREAM_INIT;
  PARROT_CHECK(lzma_stream_decoder(&stream, kDecoderMemoryLimitBytes, LZMA_CONCATENATED) == LZMA_OK)
      << "no xz decoder";
  stream.next_in = reinterpret_cast<const uint8_t*>(compressed.data());
  stream.avail_in = compressed.size();
  std::string result;
  std::array<uint8_t, 65536> buffer;
  lzma_ret status = LZMA_OK;
  while (status == LZMA_OK) {
    stream.next_out = buffer.data();
    stream.avail_out = buffer.size();
    status = lzma_code(&stream, LZMA_FINISH);
    result.append(reinterpret_cast<const char*>(buffer.data()), buffer.size() - stream.avail_out);
  }
  lzma_end(&stream);
  PARROT_CHECK(status == LZMA_STREAM_END) << name << " is not a whole .xz file";
  return result;
}

}  // namespace

std::string SourcePath(std::string_view relative_path) {
  return std::string(PARROT_SOURCE_DIR "/").append(relative_path);
}

std::string GoldenPath(std::string_view relative_path) {
  std::string path = SourcePath("tests/golden");
  if (!relative_path.empty()) path.append("/").append(relative_path);
  return path;
}

std::string ReadGoldenFile(std::string_view relative_path) {
  std::ifstream file(GoldenPath(relative_path), std::ios::binary);
  PARROT_CHECK(file.good()) << "golden file is missing: " << relative_path;
  std::string bytes((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  return relative_path.ends_with(".xz") ? Decompress(bytes, relative_path) : bytes;
}

std::vector<nlohmann::json> ReadJsonLines(std::string_view relative_path) {
  const std::string text = ReadGoldenFile(relative_path);
  std::vector<nlohmann::json> lines;
  for (size_t begin = 0; begin < text.size();) {
    size_t end = text.find('\n', begin);
    if (end == std::string::npos) end = text.size();
    if (end > begin)
      lines.push_back(nlohmann::json::parse(text.begin() + static_cast<long>(begin),
                                            text.begin() + static_cast<long>(end)));
    begin = end + 1;
  }
  PARROT_CHECK(!lines.empty()) << "no lines in " << relative_path;
  return lines;
}

}  // namespace parrot
