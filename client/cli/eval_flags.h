// The flags of `parrot-cli eval` as plain data. docs/evaluation.md describes each.
#ifndef PARROT_CLIENT_CLI_EVAL_FLAGS_H_
#define PARROT_CLIENT_CLI_EVAL_FLAGS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "eval/eval_report.h"
#include "eval/evaluation.h"

namespace CLI {
class App;
}

namespace parrot {

struct EvalFlags {
  std::vector<std::string> datasets;  // paths
  EvalSettings settings;
  EvalFormat format = EvalFormat::kText;
  std::string output = "parrot-eval";  // folder
  int32_t concurrency = 16;
  int32_t max_attempts = 8;
  int64_t limit = 0;  // questions of each data set; 0: all
};

// Adds them to `app`; `flags` outlives it.
void AddEvalFlags(CLI::App* app, EvalFlags* flags);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_EVAL_FLAGS_H_
