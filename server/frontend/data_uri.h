// "data:image/png;base64,..." -> type and bytes. The decoded size is known from the length alone,
// so limits hold before anything is allocated.
#ifndef PARROT_SERVER_FRONTEND_DATA_URI_H_
#define PARROT_SERVER_FRONTEND_DATA_URI_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "absl/status/statusor.h"

namespace parrot {

struct DataUri {
  std::string_view mime_type;  // lower case as written; points into the URI
  std::string_view base64;     // points into the URI
  int64_t decoded_bytes = 0;
};

// Splits and measures; looks at no byte of the payload but the padding. Only `;base64` URIs of a
// stated type are accepted. INVALID_ARGUMENT, reason INVALID_DATA_URI.
absl::StatusOr<DataUri> ParseDataUri(std::string_view uri);

// Standard alphabet, padded, without white space; anything else is INVALID_ARGUMENT with the
// position. Linear time.
absl::StatusOr<std::string> DecodeBase64(const DataUri& uri);

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_DATA_URI_H_
