// Files that a user names: read whole, never past a limit. Stateless; thread-safe.
#ifndef PARROT_CLIENT_MESSAGES_BOUNDED_FILE_H_
#define PARROT_CLIENT_MESSAGES_BOUNDED_FILE_H_

#include <cstdint>
#include <string>

#include "absl/status/statusor.h"

namespace parrot {

// The bytes of `path` (a regular file or a pipe). NOT_FOUND or PERMISSION_DENIED with the path when
// it cannot be opened; INVALID_ARGUMENT with value and limit when it holds more than `max_bytes`,
// of which at most one byte too many is ever read.
absl::StatusOr<std::string> ReadBoundedFile(const std::string& path, int64_t max_bytes);

}  // namespace parrot

#endif  // PARROT_CLIENT_MESSAGES_BOUNDED_FILE_H_
