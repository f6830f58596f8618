// ScanWire: bounds a protobuf message before it is parsed. A message limit alone does not bound
// memory: 8 MB of `0a 00` parse into 885 MB of empty sub-messages. One linear pass over the bytes,
// guided by the message's descriptor and allocating nothing, counts every field, every packed
// element and every map entry, and stops at the first rule that is broken.
//
// What passes parses: ParseFrom then neither fails nor logs.
//
// Thread-safe (pure function).
#ifndef PARROT_SERVER_GRPC_WIRE_SCAN_H_
#define PARROT_SERVER_GRPC_WIRE_SCAN_H_

#include <cstdint>
#include <string_view>

#include "absl/status/status.h"
#include "google/protobuf/descriptor.h"

namespace parrot {

struct WireLimits {
  int32_t max_fields = 4096;  // in all levels together
  int32_t max_depth = 32;     // of nested messages
};

// INVALID_ARGUMENT with the path of the field and one of the reasons
//   MALFORMED_REQUEST  not this message: cut short, overlong varint, wrong wire type, group
//   UNKNOWN_FIELD      a number that the message does not define (it would be ignored silently)
//   TOO_MANY_FIELDS    more than max_fields
//   INVALID_UTF8       in a field of type string
[[nodiscard]] absl::Status ScanWire(std::string_view bytes,
                                    const google::protobuf::Descriptor& type,
                                    const WireLimits& limits);

}  // namespace parrot

#endif  // PARROT_SERVER_GRPC_WIRE_SCAN_H_
