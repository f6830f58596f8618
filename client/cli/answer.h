// The streamed answers to one request, collected while they are shown. Plain data and a loop;
// confined to one thread.
#ifndef PARROT_CLIENT_CLI_ANSWER_H_
#define PARROT_CLIENT_CLI_ANSWER_H_

#include <cstdint>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "client/generate_stream.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {

struct AnswerOutput {
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<v1::TokenLogprobs> logprobs;  // of each token id, if asked for
  std::optional<v1::Finish> finish;
};

// The first answer, and what is said of all of them.
struct Answer : AnswerOutput {
  absl::Status status;  // of the call; the rest may be partial if it is not ok
  std::string request_id;
  std::string model;
  std::vector<v1::PromptTokenLogprobs> prompt_logprobs;  // if asked for
  std::vector<v1::ImageRouting> routing;
  std::vector<AnswerOutput> others;  // answers 1 .. n - 1, as far as anything came of them
};

// Called while the answer arrives; each may be empty.
struct AnswerCallbacks {
  std::function<void(const v1::Accepted&)> on_accepted;
  std::function<void(std::string_view)> on_text;  // of the first answer; never empty
  // Once, as soon as the weights are known.
  std::function<void(const std::vector<v1::ImageRouting>&)> on_routing;
};

// Reads `stream` to its end.
Answer ReadAnswer(GenerateStream& stream, const AnswerCallbacks& callbacks);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_ANSWER_H_
