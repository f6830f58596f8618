// The answer of one Generate call, event by event: `accepted`, then deltas, then one `finish` for
// each of the request's n outputs. See server_stream.h for the loop and the thread contract.
#ifndef PARROT_CLIENT_GENERATE_STREAM_H_
#define PARROT_CLIENT_GENERATE_STREAM_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "client/server_stream.h"
#include "parrot/v1/generation.pb.h"

namespace parrot {

class GenerateStream {
 public:
  using Stream = ServerStream<v1::GenerateResponse>;
  // What the client that made the stream wants to hear. Each is called once at most, inside Next;
  // either may be null. They may outlive the client.
  struct Hooks {
    // The first event has come.
    std::function<void()> on_accepted;
    // The call has failed before any event: its second attempt, or null if there is none.
    std::function<std::unique_ptr<Stream>(const absl::Status&)> on_failed;
  };
  // `num_outputs`: how many terminal events a complete answer has.
  GenerateStream(std::unique_ptr<Stream> stream, int32_t num_outputs, Hooks hooks = {});

  // Blocks until an event is there (true) or the call is over (false).
  [[nodiscard]] bool Next(v1::GenerateResponse* event);
  // Any thread.
  void Cancel();
  // INTERNAL with reason STREAM_INCOMPLETE when the server said OK without every terminal event.
  absl::Status Finish();
  // As accepted by the server; empty before the first event.
  const std::string& request_id() const { return request_id_; }

 private:
  bool CallAgain();

  // Replaced under mutex_ by the thread that reads, which alone may read it without.
  std::unique_ptr<Stream> stream_;
  absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  Hooks hooks_;
  const int32_t num_outputs_;
  int32_t num_finished_ = 0;
  std::string request_id_;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_GENERATE_STREAM_H_
