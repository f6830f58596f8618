// The answer of one Generate call, event by event: `accepted`, then deltas, then one `finish` for
// each of the request's n outputs. See response_stream.h for the loop and the thread contract.
#ifndef PARROT_CLIENT_GENERATE_STREAM_H_
#define PARROT_CLIENT_GENERATE_STREAM_H_

#include <cstdint>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "client/response_stream.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {

class GenerateStream {
 public:
  // `num_outputs`: how many terminal events a complete answer has.
  GenerateStream(std::unique_ptr<ResponseStream<v1::GenerateResponse>> stream, int32_t num_outputs);

  // Blocks until an event is there (true) or the call is over (false).
  [[nodiscard]] bool Next(v1::GenerateResponse* event);
  // Any thread.
  void Cancel() { stream_->Cancel(); }
  // INTERNAL with reason STREAM_INCOMPLETE when the server said OK without every terminal event.
  absl::Status Finish();
  // As accepted by the server; empty before the first event.
  const std::string& request_id() const { return request_id_; }

 private:
  std::unique_ptr<ResponseStream<v1::GenerateResponse>> stream_;
  const int32_t num_outputs_;
  int32_t num_finished_ = 0;
  std::string request_id_;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_GENERATE_STREAM_H_
