// Validator: the only judge of requests, for every entry point. What passes it can be prepared and
// run without further doubts about options; only the images' content and the prompt's length in
// tokens are judged later (Preprocessor, CheckLength), because they need work.
//
// Errors are typed (ErrorFacts with field path, value, limit) and hold no user text. Supported
// options out of range are INVALID_ARGUMENT; options that the API names and this server does not
// offer are UNIMPLEMENTED; a value that no server could honour is INVALID_ARGUMENT even there.
//
// Immutable after construction, so thread-safe.
#ifndef PARROT_SERVER_FRONTEND_VALIDATOR_H_
#define PARROT_SERVER_FRONTEND_VALIDATOR_H_

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "model/api/sampling_params.h"
#include "model/api/token.h"
#include "scheduler/request.h"
#include "server/frontend/generate_spec.h"
#include "server/frontend/limits.h"
#include "server/frontend/output_text.h"

namespace parrot {

struct ValidatorOptions {
  FrontendLimits limits;
  std::vector<std::string> served_names;  // at least one
  int32_t vocab_size = 0;                 // stop ids are below it
  int32_t num_experts = 0;                // 0: nothing to route
  uint64_t default_seed = 0;
  bool has_image_store = true;  // false: no digests
};

// A request whose options are in range. Text is valid UTF-8; images are encoded bytes or a data URI
// whose decoded size is within the limits.
struct ValidRequest {
  RequestKind kind = RequestKind::kGenerate;
  std::string model;          // a served name
  std::string language;       // "" when absent
  std::string lock_language;  // likewise: of the language lock
  std::vector<MessageSpec> messages;
  std::string generation_prefix;
  bool literal_placement = false;
  SamplingParams sampling;
  std::optional<int32_t> max_tokens;
  int32_t min_tokens = 0;
  bool ignore_eos = false;
  std::vector<TokenId> stop_token_ids;  // the client's, sorted
  StopRules stop;
  int32_t num_outputs = 1;
  std::vector<std::string> choices;                    // the answer is one of them; empty: free
  std::vector<std::vector<TokenId>> forced_token_ids;  // of each choice, once it is tokenised
  int32_t priority = 0;                                // 0..9
  bool pin_first_turn = false;  // the router's text ends before the first answer
  int64_t text_bytes = 0;       // messages and prefix
  int32_t num_images = 0;
  int64_t encoded_image_bytes = 0;  // decoded size of data URIs
};

class Validator {
 public:
  explicit Validator(const ValidatorOptions& options);

  // Moves the messages out of `spec` when it succeeds.
  [[nodiscard]] absl::StatusOr<ValidRequest> Validate(GenerateSpec&& spec) const;
  // The parts of it that Tokenize, CountTokens and GetModelInfo need.
  [[nodiscard]] absl::StatusOr<std::string> ResolveModel(
      const std::optional<std::string>& model) const;
  [[nodiscard]] absl::Status ValidateText(std::string_view text) const;
  // The fields of PutImage and HasImage. UNIMPLEMENTED without an image store.
  [[nodiscard]] absl::StatusOr<std::string> ValidateUpload(const std::optional<std::string>& model,
                                                           std::string_view data) const;
  [[nodiscard]] absl::StatusOr<std::vector<Sha256Digest>> ValidateDigests(
      const std::vector<std::string>& digests) const;
  // The id to run under: the client's, or "" when it named none. INVALID_ARGUMENT when it is not
  // 1..128 printable ASCII characters, or the two differ.
  [[nodiscard]] absl::StatusOr<std::string> ResolveRequestId(const GenerateSpec& spec) const;

  // The number of tokens to generate, once the prompt's length is known. INVALID_ARGUMENT with
  // CONTEXT_LENGTH_EXCEEDED and both numbers when it does not fit.
  [[nodiscard]] absl::StatusOr<int32_t> CheckLength(RequestKind kind,
                                                    int32_t num_prompt_tokens,
                                                    std::optional<int32_t> max_tokens,
                                                    int32_t min_tokens) const;

  // Whether so many text tokens of a prompt may have their log-probabilities reported.
  [[nodiscard]] absl::Status CheckPromptLogprobs(const SamplingParams& sampling,
                                                 int32_t num_text_tokens) const;

  const ValidatorOptions& options() const { return options_; }
  // Field paths of options that are answered with UNIMPLEMENTED, for GetModelInfo.
  std::vector<std::string> UnsupportedOptions() const;

 private:
  absl::Status CheckMessages(const std::vector<MessageSpec>& messages, ValidRequest& request) const;
  absl::Status CheckParts(const MessageSpec& message, ValidRequest& request) const;
  absl::Status CheckText(std::string_view text, ValidRequest& request) const;
  absl::Status CheckImage(const ImageSpec& image, ValidRequest& request) const;
  absl::Status CheckImageSize(int64_t size_bytes) const;
  absl::Status CheckExpertWeights(const std::vector<float>& weights) const;
  absl::Status CheckSampling(const SamplingSpec& spec, ValidRequest& request) const;
  absl::Status CheckStop(const StopSpec& spec, ValidRequest& request) const;
  absl::Status CheckOtherOptions(const GenerateSpec& spec) const;
  absl::Status CheckChoices(const GenerateSpec& spec) const;

  const ValidatorOptions options_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_VALIDATOR_H_
