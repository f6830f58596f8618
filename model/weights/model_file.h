// Small files of a checkpoint folder and the errors about them. Errors are for the operator: they
// name the file by its base name, never by its path, and quote names found in files only after
// PrintableName().
#ifndef PARROT_MODEL_WEIGHTS_MODEL_FILE_H_
#define PARROT_MODEL_WEIGHTS_MODEL_FILE_H_

#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"

namespace parrot {

// Configuration and index files; real ones are below 100 kB.
inline constexpr int64_t kMaxModelJsonBytes = int64_t{64} << 20;

// NOT_FOUND, reason MODEL_FILE_MISSING.
absl::Status ModelFileMissing(std::string_view file, std::string_view rule);
// INVALID_ARGUMENT, reason MODEL_FILE_INVALID: the file breaks a rule of its format. `item` is the
// key or tensor (empty: the file as a whole), `value` what stands there, `limit` what may.
absl::Status ModelFileInvalid(std::string_view file,
                              std::string_view item,
                              std::string_view rule,
                              std::string_view value = {},
                              std::string_view limit = {});
// INVALID_ARGUMENT, reason MODEL_UNSUPPORTED: well-formed, but asks for what we do not implement.
absl::Status ModelUnsupported(std::string_view file,
                              std::string_view item,
                              std::string_view rule,
                              std::string_view value = {},
                              std::string_view limit = {});

// At most 96 bytes of printable ASCII; the rest becomes '?'. For names that come from files.
std::string PrintableName(std::string_view text);
// "[577, 1024]".
std::string ShapeText(const std::vector<int64_t>& shape);

std::string ModelPath(std::string_view dir, std::string_view base_name);
// The last component of a path.
std::string ModelBaseName(std::string_view path);
bool ModelFileExists(const std::string& path);

// The whole file. NOT_FOUND if it is not there, INVALID_ARGUMENT if it is not a regular file,
// cannot be read or is larger than max_bytes.
absl::StatusOr<std::string> ReadModelFile(const std::string& path, int64_t max_bytes);

}  // namespace parrot

#endif  // PARROT_MODEL_WEIGHTS_MODEL_FILE_H_
