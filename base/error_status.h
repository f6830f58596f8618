// Typed errors: an absl::Status that also says, for machines, which rule was broken.
//
// The layer that finds an error states reason, value and limit; the layer that knows the request
// adds the field's path. The facts travel as a payload of the Status; protocol front ends turn them
// into google.rpc details, metrics use the reason as a label. Facts and messages hold no user text,
// no file path of the server and no pointer.
//
//   return ErrorStatus(absl::StatusCode::kInvalidArgument, "30000x30000 exceeds 33554432 pixels",
//                      {.reason = "IMAGE_TOO_LARGE", .value = "900000000", .limit = "33554432"});
//   ...
//   return WithField(std::move(status), "messages[0].parts[1].image");
#ifndef PARROT_BASE_ERROR_STATUS_H_
#define PARROT_BASE_ERROR_STATUS_H_

#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/time/time.h"

namespace parrot {

struct ErrorFacts {
  std::string reason;  // UPPER_SNAKE_CASE, from a closed set; label of parrot_rejected_total
  std::string field;   // path in the request, e.g. "sampling.top_p"; empty if none
  std::string value;   // the offending value, printable, at most 64 bytes; empty if none
  std::string limit;   // the limit or range that was broken; empty if none
  absl::Duration retry_after = absl::ZeroDuration();  // > 0: the client may retry after it
  // What the error is about, where that may be several things: each as `value`. Few: they travel in
  // the trailers.
  std::vector<std::string> subjects;
};

// REQUIRES: code is not kOk.
[[nodiscard]] absl::Status ErrorStatus(absl::StatusCode code,
                                       std::string_view message,
                                       const ErrorFacts& facts);

// The facts of `status`; all empty when it carries none.
[[nodiscard]] ErrorFacts GetErrorFacts(const absl::Status& status);

// The same status with `field` set in its facts and "field: " before its message. A field that is
// already set becomes a suffix: WithField(s, "messages[1]") of field "text" is "messages[1].text".
[[nodiscard]] absl::Status WithField(const absl::Status& status, std::string_view field);

}  // namespace parrot

#endif  // PARROT_BASE_ERROR_STATUS_H_
