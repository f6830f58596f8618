// A prompt as parrot-inspect's commands are given it: messages of a file, rendered and
// preprocessed.
#ifndef PARROT_INSPECT_PROMPT_INPUT_H_
#define PARROT_INSPECT_PROMPT_INPUT_H_

#include "absl/status/statusor.h"
#include "inspect/inspect_options.h"
#include "model/api/model_config.h"
#include "model/runtime/prompt_probe.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"

namespace parrot {

struct PromptInput {
  RenderedPrompt prompt;
  PromptRequest request;  // what is sent to the model
};

// INVALID_ARGUMENT for a file, a conversation or an image that is none.
absl::StatusOr<PromptInput> ReadPrompt(const RunOptions& options,
                                       const ModelConfig& config,
                                       const Tokenizer& tokenizer);

}  // namespace parrot

#endif  // PARROT_INSPECT_PROMPT_INPUT_H_
