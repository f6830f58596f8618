// The clients of the measurements, in a process of their own: many Generate streams over a few
// connections, and what they saw of the answers' pace.
//
// Runs on gRPC's own threads. Not thread-safe; not to be copied or moved.
#ifndef PARROT_BENCH_SERVER_OVERHEAD_LOAD_CLIENT_H_
#define PARROT_BENCH_SERVER_OVERHEAD_LOAD_CLIENT_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/support/channel_arguments.h"
#include "grpcpp/support/status.h"
#include "parrot/v1/generation.grpc.pb.h"

namespace parrot {

using StubPtr = std::shared_ptr<v1::ParrotService::Stub>;

// Over a connection of its own.
StubPtr Connect(int32_t port, const grpc::ChannelArguments& arguments = {});
// A short question whose answer has `max_tokens` tokens.
v1::GenerateRequest Question(int32_t max_tokens);

// Some number of streams that run all the time: one that ends begins again.
class StreamLoad {
 public:
  // Up to 50 streams a connection. Each answer has `max_tokens` tokens.
  StreamLoad(int32_t port, int32_t num_streams, int32_t max_tokens);
  // Cancels them and waits until they have ended.
  ~StreamLoad();
  StreamLoad(const StreamLoad&) = delete;
  StreamLoad& operator=(const StreamLoad&) = delete;

  // Opens the streams, not all at once (the server's queues are bounded), and returns when each has
  // had text.
  void Open();
  // From now on gaps between messages count.
  void BeginWindow() { is_recording_.store(true); }
  // Until now. Ends the streams.
  struct Window {
    std::vector<float> gaps_ms;  // between the messages of a stream
    int64_t num_messages = 0;
    int64_t num_tokens = 0;
  };
  Window EndWindow();

 private:
  class Call;
  void StartCall(int32_t stream);
  void OnFirstText();
  void OnDone(int32_t stream, const grpc::Status& status);
  bool MayOpen() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return num_opened_ - num_with_text_ < kMaxOpening;
  }
  bool AllHaveText() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) {
    return num_with_text_ >= num_streams_;
  }
  bool AllDone() const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_) { return num_live_ == 0; }
  static constexpr int32_t kMaxOpening = 32;

  const int32_t num_streams_;
  const v1::GenerateRequest request_;
  std::vector<StubPtr> stubs_;
  std::atomic<bool> is_recording_{false};

  absl::Mutex mutex_;
  int32_t num_opened_ ABSL_GUARDED_BY(mutex_) = 0;
  int32_t num_with_text_ ABSL_GUARDED_BY(mutex_) = 0;  // counted until all are open
  int32_t num_live_ ABSL_GUARDED_BY(mutex_) = 0;
  bool is_closing_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<std::shared_ptr<Call>> calls_ ABSL_GUARDED_BY(mutex_);  // by stream, until done
  Window window_ ABSL_GUARDED_BY(mutex_);                             // of the calls that are done
};

// A reader that takes the first message of a stream and nothing after it, over a connection of its
// own that holds a kilobyte for it.
class StalledReader {
 public:
  StalledReader(int32_t port, int32_t max_tokens);
  ~StalledReader();  // cancels
  StalledReader(const StalledReader&) = delete;
  StalledReader& operator=(const StalledReader&) = delete;

 private:
  StubPtr stub_;
  grpc::ClientContext context_;
  std::unique_ptr<grpc::ClientReader<v1::GenerateResponse>> stream_;
};

// Calls GenerateUnary `num_calls` times, one begun every `interval` whether or not the ones before
// have ended, over four connections. The milliseconds that those took that were refused with
// RESOURCE_EXHAUSTED and a hint when to retry; any other end ends the program.
std::vector<float> RefusedCalls(int32_t port, int32_t num_calls, absl::Duration interval);

}  // namespace parrot

#endif  // PARROT_BENCH_SERVER_OVERHEAD_LOAD_CLIENT_H_
