#include "server/grpc/wire_scan.h"

#include <cstddef>
#include <string>

#include "absl/container/inlined_vector.h"
#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "base/status_macros.h"

namespace parrot {
namespace {

using google::protobuf::Descriptor;
using google::protobuf::FieldDescriptor;

// protobuf's wire types; 3 and 4 are groups, which proto3 does not have.
enum WireType : uint32_t { kVarint = 0, kFixed64 = 1, kLengthDelimited = 2, kFixed32 = 5 };

absl::Status Malformed() {
  return ErrorStatus(
      absl::StatusCode::kInvalidArgument, "request is not valid", {.reason = "MALFORMED_REQUEST"});
}

WireType WireTypeOf(FieldDescriptor::Type type) {
  switch (type) {
    case FieldDescriptor::TYPE_DOUBLE:
    case FieldDescriptor::TYPE_FIXED64:
    case FieldDescriptor::TYPE_SFIXED64:
      return kFixed64;
    case FieldDescriptor::TYPE_FLOAT:
    case FieldDescriptor::TYPE_FIXED32:
    case FieldDescriptor::TYPE_SFIXED32:
      return kFixed32;
    case FieldDescriptor::TYPE_STRING:
    case FieldDescriptor::TYPE_BYTES:
    case FieldDescriptor::TYPE_GROUP:
    case FieldDescriptor::TYPE_MESSAGE:
      return kLengthDelimited;
    default:
      return kVarint;
  }
}

// Length of the valid UTF-8 sequence at the start of `text`, which is not empty; 0: none.
size_t Utf8Length(std::string_view text) {
  const auto byte = [&text](size_t i) { return static_cast<unsigned char>(text[i]); };
  const auto continues = [&](size_t i) { return i < text.size() && (byte(i) & 0xC0) == 0x80; };
  const unsigned char lead = byte(0);
  if (lead < 0x80) return 1;
  if (lead >= 0xC2 && lead <= 0xDF) return continues(1) ? 2 : 0;
  if (lead >= 0xE0 && lead <= 0xEF) {
    if (!continues(1) || !continues(2)) return 0;
    const bool overlong = lead == 0xE0 && byte(1) < 0xA0;
    const bool surrogate = lead == 0xED && byte(1) >= 0xA0;
    return overlong || surrogate ? 0 : 3;
  }
  if (lead >= 0xF0 && lead <= 0xF4) {
    if (!continues(1) || !continues(2) || !continues(3)) return 0;
    const bool overlong = lead == 0xF0 && byte(1) < 0x90;
    const bool too_large = lead == 0xF4 && byte(1) >= 0x90;
    return overlong || too_large ? 0 : 4;
  }
  return 0;
}

absl::Status CheckUtf8(std::string_view text) {
  size_t position = 0;
  while (position < text.size()) {
    const size_t length = Utf8Length(text.substr(position));
    if (length == 0) {
      return ErrorStatus(absl::StatusCode::kInvalidArgument,
                         absl::StrCat("invalid UTF-8 at byte ", position),
                         {.reason = "INVALID_UTF8", .value = absl::StrCat(position)});
    }
    position += length;
  }
  return absl::OkStatus();
}

// Takes a varint off the front of `bytes`; false if there is none.
bool TakeVarint(std::string_view& bytes, uint64_t& value) {
  value = 0;
  for (size_t i = 0; i < bytes.size() && i < 10; ++i) {
    const unsigned char byte = static_cast<unsigned char>(bytes[i]);
    if (i == 9 && byte > 1) return false;  // more than 64 bits
    value |= static_cast<uint64_t>(byte & 0x7F) << (7 * i);
    if ((byte & 0x80) == 0) {
      bytes.remove_prefix(i + 1);
      return true;
    }
  }
  return false;
}

bool TakeBytes(std::string_view& bytes, uint64_t size, std::string_view& taken) {
  if (size > bytes.size()) return false;
  taken = bytes.substr(0, size);
  bytes.remove_prefix(size);
  return true;
}

class Scanner {
 public:
  explicit Scanner(const WireLimits& limits) : limits_(limits) {}

  absl::Status ScanMessage(std::string_view bytes, const Descriptor& type, int32_t depth) {
    if (depth > limits_.max_depth) return Malformed();
    // How often each repeated field was seen, for the path in errors: by index of the field.
    absl::InlinedVector<int32_t, 24> seen(static_cast<size_t>(type.field_count()), 0);
    while (!bytes.empty()) {
      uint64_t tag = 0;
      if (!TakeVarint(bytes, tag) || tag > 0xFFFFFFFF || (tag >> 3) == 0) return Malformed();
      RETURN_IF_ERROR(Count());
      const int number = static_cast<int>(tag >> 3);
      const FieldDescriptor* field = type.FindFieldByNumber(number);
      if (field == nullptr) {
        return ErrorStatus(absl::StatusCode::kInvalidArgument,
                           absl::StrCat("unknown field ", number),
                           {.reason = "UNKNOWN_FIELD", .value = absl::StrCat(number)});
      }
      const absl::Status status = ScanField(bytes, *field, static_cast<uint32_t>(tag & 7), depth);
      if (!status.ok()) return AtField(status, *field, seen[field->index()]);
      ++seen[field->index()];
    }
    return absl::OkStatus();
  }

 private:
  absl::Status Count() {
    if (++num_fields_ <= limits_.max_fields) return absl::OkStatus();
    return ErrorStatus(absl::StatusCode::kInvalidArgument,
                       absl::StrCat("too many fields, limit ", limits_.max_fields),
                       {.reason = "TOO_MANY_FIELDS", .limit = absl::StrCat(limits_.max_fields)});
  }

  // Names the field, except for errors of the request as a whole.
  static absl::Status AtField(const absl::Status& status,
                              const FieldDescriptor& field,
                              int32_t index) {
    if (GetErrorFacts(status).reason == "TOO_MANY_FIELDS") return status;
    return WithField(
        status, field.is_repeated() ? absl::StrCat(field.name(), "[", index, "]") : field.name());
  }

  absl::Status ScanField(std::string_view& bytes,
                         const FieldDescriptor& field,
                         uint32_t wire_type,
                         int32_t depth) {
    if (field.is_packable() && wire_type == kLengthDelimited) return ScanPacked(bytes, field);
    if (wire_type != WireTypeOf(field.type())) return Malformed();
    std::string_view content;
    uint64_t value = 0;
    switch (wire_type) {
      case kVarint:
        return TakeVarint(bytes, value) ? absl::OkStatus() : Malformed();
      case kFixed64:
        return TakeBytes(bytes, 8, content) ? absl::OkStatus() : Malformed();
      case kFixed32:
        return TakeBytes(bytes, 4, content) ? absl::OkStatus() : Malformed();
      default:
        break;
    }
    if (!TakeVarint(bytes, value) || !TakeBytes(bytes, value, content)) return Malformed();
    if (field.type() == FieldDescriptor::TYPE_MESSAGE) {
      return ScanMessage(content, *field.message_type(), depth + 1);
    }
    if (field.type() == FieldDescriptor::TYPE_STRING) return CheckUtf8(content);
    return absl::OkStatus();
  }

  // Each element counts: a packed field of one-byte varints grows four- to eightfold when parsed.
  absl::Status ScanPacked(std::string_view& bytes, const FieldDescriptor& field) {
    uint64_t size = 0;
    std::string_view content;
    if (!TakeVarint(bytes, size) || !TakeBytes(bytes, size, content)) return Malformed();
    const WireType element = WireTypeOf(field.type());
    while (!content.empty()) {
      RETURN_IF_ERROR(Count());
      uint64_t value = 0;
      std::string_view skipped;
      const bool ok = element == kVarint ? TakeVarint(content, value)
                                         : TakeBytes(content, element == kFixed64 ? 8 : 4, skipped);
      if (!ok) return Malformed();
    }
    return absl::OkStatus();
  }

  const WireLimits& limits_;
  int32_t num_fields_ = 0;
};

}  // namespace

absl::Status ScanWire(std::string_view bytes, const Descriptor& type, const WireLimits& limits) {
  return Scanner(limits).ScanMessage(bytes, type, /*depth=*/1);
}

}  // namespace parrot
