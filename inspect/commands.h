// The five commands of parrot-inspect. Each prints its result to standard output and returns why it
// could not; main prints that and sets the exit code. Stateless.
#ifndef PARROT_INSPECT_COMMANDS_H_
#define PARROT_INSPECT_COMMANDS_H_

#include <iosfwd>

#include "absl/status/status.h"
#include "inspect/inspect_options.h"

namespace parrot {

// Configuration, tensors and tokenizer. With options.json a failure is printed as JSON too.
absl::Status CheckCheckpoint(const CheckOptions& options, std::ostream& out);

// Stops at the first line that is not a JSON string; the error states its number.
absl::Status TokenizeLines(const TokenizeOptions& options, std::istream& in, std::ostream& out);

absl::Status PreprocessImage(const PreprocessOptions& options);

// Prints one JSON object; the tensors go to options.output_path.
absl::Status RunPrompt(const RunOptions& options, std::ostream& out);

// What --quantization does to each layer's weights and, with prompts, to logits and greedy text.
// Progress goes to standard error.
absl::Status QuantizeCheckpoint(const QuantizeOptions& options, std::ostream& out);

}  // namespace parrot

#endif  // PARROT_INSPECT_COMMANDS_H_
