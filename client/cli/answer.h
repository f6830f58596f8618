// One streamed answer, collected while it is shown. Plain data and a loop; confined to one thread.
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

struct Answer {
  absl::Status status;  // of the call; what follows may be partial if it is not ok
  std::string request_id;
  std::string model;
  std::string text;
  std::vector<int32_t> token_ids;
  std::vector<v1::ImageRouting> routing;
  std::optional<v1::Finish> finish;
};

// Called while the answer arrives; each may be empty.
struct AnswerCallbacks {
  std::function<void(const v1::Accepted&)> on_accepted;
  std::function<void(std::string_view)> on_text;  // never empty text
  // Once, as soon as the weights are known.
  std::function<void(const std::vector<v1::ImageRouting>&)> on_routing;
};

// Reads `stream` to its end.
Answer ReadAnswer(GenerateStream& stream, const AnswerCallbacks& callbacks);

}  // namespace parrot

#endif  // PARROT_CLIENT_CLI_ANSWER_H_
