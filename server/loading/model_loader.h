// From a checkpoint's folder to a ServedModel: tokenizer, configuration, weights on the device. The
// only part of the server that knows model/runtime; torch-free itself.
#ifndef PARROT_SERVER_LOADING_MODEL_LOADER_H_
#define PARROT_SERVER_LOADING_MODEL_LOADER_H_

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "server/logging/logger.h"
#include "server/options/options.h"
#include "server/served_model.h"

namespace parrot {

// Blocks until the weights are loaded; logs the progress. Errors name the file's base name and the
// rule it breaks.
[[nodiscard]] absl::StatusOr<ServedModel> LoadServedModel(const Options& options, Logger& logger);

// Whether the operator should look at the model's files (exit code 3), not at options or devices.
bool IsModelFileError(const absl::Status& status);

}  // namespace parrot

#endif  // PARROT_SERVER_LOADING_MODEL_LOADER_H_
