#include "server/frontend/data_uri.h"

#include <array>
#include <cstddef>
#include <string>

#include "absl/status/status.h"
#include "base/error_status.h"

namespace parrot {
namespace {

constexpr std::string_view kPrefix = "data:";
constexpr std::string_view kEncoding = ";base64";
constexpr uint8_t kInvalid = 0xff;

constexpr std::array<uint8_t, 256> MakeAlphabet() {
  std::array<uint8_t, 256> table{};
  table.fill(kInvalid);
  constexpr std::string_view kAlphabet =
      "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  for (size_t i = 0; i < kAlphabet.size(); ++i) {
    table[static_cast<uint8_t>(kAlphabet[i])] = static_cast<uint8_t>(i);
  }
  return table;
}
constexpr std::array<uint8_t, 256> kValues = MakeAlphabet();

absl::Status Invalid(const std::string& rule, std::string value = "") {
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     rule,
                     {.reason = "INVALID_DATA_URI", .value = std::move(value)});
}

int PaddingOf(std::string_view base64) {
  if (!base64.ends_with('=')) return 0;
  return base64.ends_with("==") ? 2 : 1;
}

}  // namespace

absl::StatusOr<DataUri> ParseDataUri(std::string_view uri) {
  if (!uri.starts_with(kPrefix)) {
    return Invalid("only data: URIs are accepted, the server fetches nothing");
  }
  uri.remove_prefix(kPrefix.size());
  const size_t comma = uri.find(',');
  if (comma == std::string_view::npos) return Invalid("data URI without a comma");
  std::string_view header = uri.substr(0, comma);
  if (!header.ends_with(kEncoding)) return Invalid("data URI is not base64");
  header.remove_suffix(kEncoding.size());
  if (header.empty()) return Invalid("data URI without a type");
  const std::string_view base64 = uri.substr(comma + 1);
  if (base64.empty()) return Invalid("data URI without data");
  if (base64.size() % 4 != 0) {
    return Invalid("base64 of a length that is no multiple of 4", std::to_string(base64.size()));
  }
  return DataUri{.mime_type = header,
                 .base64 = base64,
                 .decoded_bytes = static_cast<int64_t>(base64.size() / 4 * 3) - PaddingOf(base64)};
}

absl::StatusOr<std::string> DecodeBase64(const DataUri& uri) {
  const int padding = PaddingOf(uri.base64);
  const size_t num_digits = uri.base64.size() - static_cast<size_t>(padding);
  std::string bytes;
  bytes.reserve(static_cast<size_t>(uri.decoded_bytes));
  uint32_t bits = 0;
  int num_bits = 0;
  for (size_t i = 0; i < num_digits; ++i) {
    const uint8_t value = kValues[static_cast<uint8_t>(uri.base64[i])];
    if (value == kInvalid) {
      return Invalid("invalid base64 at character " + std::to_string(i), std::to_string(i));
    }
    bits = (bits << 6) | value;
    num_bits += 6;
    if (num_bits < 8) continue;
    num_bits -= 8;
    bytes.push_back(static_cast<char>(bits >> num_bits));
    bits &= (1u << num_bits) - 1;
  }
  // Bits that the padding leaves over must be zero, so that one file has one encoding.
  if (bits != 0) return Invalid("invalid base64 at its end");
  return bytes;
}

}  // namespace parrot
