// The configuration file: YAML, one flat map of option name -> scalar or list of scalars.
//
//   model: /models/parrot-7b
//   max-num-seqs: 16
//   served-model-name: [parrot-7b, parrot]
#ifndef PARROT_SERVER_OPTIONS_CONFIG_FILE_H_
#define PARROT_SERVER_OPTIONS_CONFIG_FILE_H_

#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"

namespace parrot {

struct ConfigEntry {
  std::string key;
  std::string value;  // a list is joined by commas
  int line = 0;       // 1-based
};

// Thread-safe. INVALID_ARGUMENT with the line for what is not such a map (a repeated key included),
// NOT_FOUND for a file that cannot be read. At most 1 MiB is read.
[[nodiscard]] absl::StatusOr<std::vector<ConfigEntry>> ReadConfigFile(const std::string& path);
[[nodiscard]] absl::StatusOr<std::vector<ConfigEntry>> ParseConfigText(const std::string& text);

}  // namespace parrot

#endif  // PARROT_SERVER_OPTIONS_CONFIG_FILE_H_
