#include "model/weights/safetensors_header.h"

#include <algorithm>
#include <array>
#include <limits>
#include <optional>
#include <tuple>
#include <utility>

#include "absl/container/flat_hash_set.h"
#include "absl/status/status.h"
#include "base/error_status.h"
#include "base/status_macros.h"
#include "model/weights/model_file.h"
#include "nlohmann/json.hpp"

namespace parrot {
namespace {

using Json = nlohmann::json;

struct TypeFacts {
  SafetensorsType type;
  const char* name;
  int bytes;
};

constexpr std::array<TypeFacts, 15> kTypes = {{{SafetensorsType::kBool, "BOOL", 1},
                                               {SafetensorsType::kU8, "U8", 1},
                                               {SafetensorsType::kI8, "I8", 1},
                                               {SafetensorsType::kF8E5M2, "F8_E5M2", 1},
                                               {SafetensorsType::kF8E4M3, "F8_E4M3", 1},
                                               {SafetensorsType::kI16, "I16", 2},
                                               {SafetensorsType::kU16, "U16", 2},
                                               {SafetensorsType::kF16, "F16", 2},
                                               {SafetensorsType::kBF16, "BF16", 2},
                                               {SafetensorsType::kI32, "I32", 4},
                                               {SafetensorsType::kU32, "U32", 4},
                                               {SafetensorsType::kF32, "F32", 4},
                                               {SafetensorsType::kF64, "F64", 8},
                                               {SafetensorsType::kI64, "I64", 8},
                                               {SafetensorsType::kU64, "U64", 8}}};

std::optional<SafetensorsType> TypeFromName(std::string_view name) {
  for (const TypeFacts& facts : kTypes) {
    if (name == facts.name) return facts.type;
  }
  return std::nullopt;
}

// An error about the header; the caller adds the file.
absl::Status HeaderError(std::string_view tensor,
                         std::string_view rule,
                         std::string_view value = {},
                         std::string_view limit = {}) {
  std::string message;
  if (!tensor.empty()) message = "tensor \"" + PrintableName(tensor) + "\": ";
  message += rule;
  if (!value.empty()) message += " (" + PrintableName(value) + ")";
  return ErrorStatus(absl::StatusCode::kInvalidArgument,
                     message,
                     {.reason = "MODEL_FILE_INVALID",
                      .value = PrintableName(value).substr(0, 64),
                      .limit = std::string(limit)});
}

// Reads the header from parser events: no document is built, so a hostile header of 100 MB costs no
// more than its text, and everything that is not a header is refused where it begins.
class HeaderReader : public nlohmann::json_sax<Json> {
 public:
  const absl::Status& status() const { return status_; }
  SafetensorsHeader Take() { return std::move(header_); }

  bool null() override { return Unexpected("null"); }
  bool boolean(bool) override { return Unexpected("a boolean"); }
  bool number_integer(number_integer_t) override { return Fail("negative number"); }
  bool number_float(number_float_t, const string_t&) override {
    return Fail("number is not an integer of 64 bits");
  }
  bool binary(binary_t&) override { return Unexpected("binary data"); }

  bool number_unsigned(number_unsigned_t value) override {
    if (where_ == Where::kShape) {
      if (value > static_cast<uint64_t>(std::numeric_limits<int64_t>::max())) {
        return Fail("shape overflows", std::to_string(value));
      }
      if (tensor_.shape.size() == kMaxSafetensorsRank) return Fail("has too many dimensions");
      tensor_.shape.push_back(static_cast<int64_t>(value));
      return true;
    }
    if (where_ == Where::kOffsets) {
      if (num_offsets_ == 2) return Fail("data_offsets must be two numbers");
      (num_offsets_++ == 0 ? tensor_.begin : tensor_.end) = value;
      return true;
    }
    return Unexpected("a number");
  }

  bool string(string_t& value) override {
    if (where_ == Where::kMetadata) {
      header_.metadata[metadata_key_] = value;
      return true;
    }
    if (where_ != Where::kTensor || field_ != Field::kType) return Unexpected("a string");
    const std::optional<SafetensorsType> type = TypeFromName(value);
    if (!type.has_value()) return Fail("unknown dtype", value);
    tensor_.type = *type;
    return true;
  }

  bool key(string_t& key) override {
    switch (where_) {
      case Where::kRoot:
        return StartEntry(key);
      case Where::kMetadata:
        metadata_key_ = key;
        if (header_.metadata.emplace(key, "").second) return true;
        return Fail("duplicate key in __metadata__", key);
      case Where::kTensor:
        return StartField(key);
      default:
        return Unexpected("a key");
    }
  }

  bool start_object(std::size_t) override {
    if (where_ == Where::kTop) {
      where_ = Where::kRoot;
      return true;
    }
    if (where_ != Where::kRoot) return Unexpected("an object");
    where_ = in_metadata_ ? Where::kMetadata : Where::kTensor;
    return true;
  }

  bool end_object() override {
    if (where_ == Where::kRoot) {
      where_ = Where::kTop;
      return true;
    }
    if (where_ == Where::kTensor && !FinishTensor()) return false;
    where_ = Where::kRoot;
    return true;
  }

  bool start_array(std::size_t) override {
    if (where_ == Where::kTensor && field_ == Field::kShape) {
      where_ = Where::kShape;
      return true;
    }
    if (where_ == Where::kTensor && field_ == Field::kOffsets) {
      where_ = Where::kOffsets;
      return true;
    }
    return Unexpected("an array");
  }

  bool end_array() override {
    if (where_ == Where::kOffsets && num_offsets_ != 2) {
      return Fail("data_offsets must be two numbers");
    }
    where_ = Where::kTensor;
    return true;
  }

  bool parse_error(std::size_t position, const std::string&, const Json::exception&) override {
    tensor_.name.clear();
    return Fail("header is not valid JSON at byte " + std::to_string(position));
  }

 private:
  enum class Where { kTop, kRoot, kMetadata, kTensor, kShape, kOffsets };
  enum class Field { kType = 1, kShape = 2, kOffsets = 4 };
  static constexpr int kAllFields = 7;

  bool Fail(std::string_view rule, std::string_view value = {}) {
    status_ = HeaderError(tensor_.name, rule, value);
    return false;
  }
  bool Unexpected(std::string_view what) {
    return Fail("header holds " + std::string(what) + " where the format has none");
  }

  bool StartEntry(const std::string& name) {
    tensor_ = SafetensorsTensor();
    fields_ = 0;
    num_offsets_ = 0;
    in_metadata_ = name == "__metadata__";
    if (in_metadata_) {
      if (std::exchange(has_metadata_, true)) return Fail("duplicate key __metadata__");
      return true;
    }
    tensor_.name = name;
    if (!names_.insert(name).second) return Fail("duplicate key");
    if (names_.size() > kMaxSafetensorsTensors) {
      return Fail("header has more than " + std::to_string(kMaxSafetensorsTensors) + " tensors");
    }
    return true;
  }

  bool StartField(const std::string& name) {
    if (name == "dtype") {
      field_ = Field::kType;
    } else if (name == "shape") {
      field_ = Field::kShape;
    } else if (name == "data_offsets") {
      field_ = Field::kOffsets;
    } else {
      return Fail("unknown field", name);
    }
    const int bit = static_cast<int>(field_);
    if ((fields_ & bit) != 0) return Fail("duplicate key", name);
    fields_ |= bit;
    return true;
  }

  bool FinishTensor() {
    if (fields_ != kAllFields) return Fail("needs dtype, shape and data_offsets");
    if (tensor_.begin > tensor_.end) return Fail("data_offsets end before they begin");
    int64_t bytes = SafetensorsTypeBytes(tensor_.type);
    for (const int64_t dim : tensor_.shape) {
      if (__builtin_mul_overflow(bytes, dim, &bytes)) return Fail("shape overflows");
    }
    if (static_cast<uint64_t>(bytes) != tensor_.end - tensor_.begin) {
      return Fail("size differs from shape times dtype",
                  std::to_string(tensor_.end - tensor_.begin) + " bytes for " +
                      SafetensorsTypeName(tensor_.type) + " " + ShapeText(tensor_.shape));
    }
    header_.tensors.push_back(std::move(tensor_));
    tensor_ = SafetensorsTensor();
    return true;
  }

  SafetensorsHeader header_;
  absl::flat_hash_set<std::string> names_;
  Where where_ = Where::kTop;
  bool has_metadata_ = false;
  bool in_metadata_ = false;
  std::string metadata_key_;
  SafetensorsTensor tensor_;  // the one being read; an empty name outside of tensors
  Field field_ = Field::kType;
  int fields_ = 0;  // bits of Field seen in tensor_
  int num_offsets_ = 0;
  absl::Status status_;
};

// The tensors, in order of offset, must cover [0, data_bytes) exactly.
absl::Status CheckTiling(const std::vector<SafetensorsTensor>& tensors, uint64_t data_bytes) {
  uint64_t covered = 0;
  for (const SafetensorsTensor& tensor : tensors) {
    if (tensor.begin > covered) {
      return HeaderError(tensor.name,
                         "data begins after a hole",
                         std::to_string(covered) + " to " + std::to_string(tensor.begin));
    }
    if (tensor.begin < covered) {
      return HeaderError(
          tensor.name,
          "data overlaps another tensor's",
          "begins at " + std::to_string(tensor.begin) + ", before " + std::to_string(covered));
    }
    if (tensor.end > data_bytes) {
      return HeaderError(tensor.name,
                         "data ends after the end of the file",
                         std::to_string(tensor.end),
                         std::to_string(data_bytes));
    }
    covered = tensor.end;
  }
  if (covered != data_bytes) {
    return HeaderError({},
                       "data section has bytes that no tensor owns",
                       std::to_string(data_bytes - covered) + " bytes");
  }
  return absl::OkStatus();
}

}  // namespace

const char* SafetensorsTypeName(SafetensorsType type) {
  for (const TypeFacts& facts : kTypes) {
    if (facts.type == type) return facts.name;
  }
  return "unknown";
}

int SafetensorsTypeBytes(SafetensorsType type) {
  for (const TypeFacts& facts : kTypes) {
    if (facts.type == type) return facts.bytes;
  }
  return 0;
}

absl::StatusOr<uint64_t> ReadSafetensorsHeaderSize(std::string_view prefix, uint64_t file_bytes) {
  if (prefix.size() < 8 || file_bytes < 8) {
    return HeaderError(
        {}, "is too short for a safetensors file", std::to_string(file_bytes) + " bytes");
  }
  uint64_t header_bytes = 0;
  for (int i = 7; i >= 0; --i) {
    header_bytes = header_bytes << 8 | static_cast<uint8_t>(prefix[static_cast<size_t>(i)]);
  }
  if (header_bytes > kMaxSafetensorsHeaderBytes) {
    return HeaderError({},
                       "header is larger than 100000000 bytes",
                       std::to_string(header_bytes),
                       std::to_string(kMaxSafetensorsHeaderBytes));
  }
  if (header_bytes > file_bytes - 8) {
    return HeaderError({},
                       "header is larger than the file",
                       std::to_string(header_bytes),
                       std::to_string(file_bytes - 8));
  }
  return header_bytes;
}

absl::StatusOr<SafetensorsHeader> ParseSafetensorsHeader(std::string_view json,
                                                         uint64_t data_bytes) {
  if (json.empty() || json.front() != '{') {
    return HeaderError({}, "header does not begin with '{'");
  }
  // The parser takes a NUL for the end of the text.
  if (const size_t nul = json.find('\0'); nul != std::string_view::npos) {
    return HeaderError({}, "header is not valid JSON at byte " + std::to_string(nul));
  }
  HeaderReader reader;
  if (!Json::sax_parse(json.begin(), json.end(), &reader)) return reader.status();
  SafetensorsHeader header = reader.Take();
  std::sort(header.tensors.begin(),
            header.tensors.end(),
            [](const SafetensorsTensor& a, const SafetensorsTensor& b) {
              return std::tie(a.begin, a.end) < std::tie(b.begin, b.end);
            });
  RETURN_IF_ERROR(CheckTiling(header.tensors, data_bytes));
  return header;
}

}  // namespace parrot
