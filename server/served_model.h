// ServedModel: everything of one loaded model that a Server needs, from wherever it came (files, or
// a fake in tests). Movable; owned by the Server once given to it.
#ifndef PARROT_SERVER_SERVED_MODEL_H_
#define PARROT_SERVER_SERVED_MODEL_H_

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "model/api/model_config.h"
#include "model/api/model_executor.h"
#include "model/text/tokenizer.h"

namespace parrot {

struct ServedModel {
  ModelConfig config;
  std::string default_name;  // served when --served-model-name is not given
  std::string device;        // "cpu", "cuda"
  std::string dtype;         // "float32", "bfloat16": what --dtype came to
  std::string backend;       // what computes: "cpu avx512", "reference"
  int64_t num_parameters = 0;
  std::unique_ptr<Tokenizer> tokenizer;
  // The workers, at least one, with equal capacities. May look at the tokenizer: go before it.
  std::vector<std::unique_ptr<ModelExecutor>> executors;
};

}  // namespace parrot

#endif  // PARROT_SERVER_SERVED_MODEL_H_
