// What the tests of the front end share: readers of streams, an engine that does what the test
// says, and a Frontend on the nano-gqa checkpoint's tokenizer.
#ifndef PARROT_TESTS_SERVER_FRONTEND_FRONTEND_BENCH_H_
#define PARROT_TESTS_SERVER_FRONTEND_FRONTEND_BENCH_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "absl/status/status.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "model/api/model_config.h"
#include "model/image/clip_image_processor.h"
#include "model/text/chat_template.h"
#include "model/text/tokenizer.h"
#include "scheduler/event.h"
#include "scheduler/request.h"
#include "server/frontend/frontend.h"
#include "server/frontend/response_stream.h"

namespace parrot {

// Reads a stream to its end as fast as it comes. Thread-safe.
class StreamReader {
 public:
  explicit StreamReader(Clock* clock = nullptr, StreamMode mode = StreamMode::kDeltas);
  const std::shared_ptr<ResponseStream>& stream() const { return stream_; }

  // False after ten seconds of real time.
  bool WaitForEnd();
  bool WaitForText(size_t num_bytes);  // or the end
  // All that was read.
  std::vector<AnswerEvent> events() const;
  std::string text(int32_t output_idx = 0) const;
  std::vector<TokenId> token_ids(int32_t output_idx = 0) const;
  std::vector<TokenLogprobs> logprobs(int32_t output_idx = 0) const;
  // Of the one OutputFinishedEvent of this output; CHECK-fails unless there is one.
  OutputFinishedEvent finished(int32_t output_idx = 0) const;
  int num_finished() const;  // of all outputs
  int num_ends() const;
  absl::Status status() const;

 private:
  struct State {
    absl::Mutex mutex;
    std::vector<AnswerEvent> events ABSL_GUARDED_BY(mutex);
    size_t text_bytes ABSL_GUARDED_BY(mutex) = 0;
    bool ended ABSL_GUARDED_BY(mutex) = false;
  };
  const std::shared_ptr<State> state_;  // and the stream's callback
  std::shared_ptr<ResponseStream> stream_;
};

// An engine by hand: the test says what it reports. Thread-safe.
class ScriptedEngine {
 public:
  explicit ScriptedEngine(EventSink* sink) : sink_(*sink) {}
  EngineClient client();

  // Not OK: what add answers from now on.
  void RefuseWith(absl::Status status);
  // Runs inside add, before the engine knows the request.
  void SetAddHook(std::function<void(RequestKey)> hook);
  void SetLoad(const EngineLoad& load);
  // Cancels of known requests are answered with their last event at once (the default), or kept.
  void SetAnswerCancels(bool answer);

  // Waits until so many requests were added; the last one. Null after ten seconds.
  std::shared_ptr<const Request> WaitForRequest(int num_added = 1);
  std::vector<RequestKey> cancels() const;
  std::vector<std::pair<RequestKey, int32_t>> sequence_cancels() const;
  int num_added() const;
  // "pause", "resume", "flush_cache", in their order.
  std::vector<std::string> commands() const;

  void Token(RequestKey key, TokenId token, int32_t sequence_idx = 0);
  void Token(TokenEvent event);
  void PromptLogprob(PromptLogprobEvent event);
  void Routing(RequestKey key,
               int32_t image_idx,
               std::vector<float> weights,
               CacheLevel cache_level = CacheLevel::kNone);
  // Nothing if that was said before.
  void Finish(RequestKey key,
              FinishReason reason,
              absl::Status status = absl::OkStatus(),
              int32_t sequence_idx = 0);
  // At a stop token of this log-probability.
  void FinishChoice(RequestKey key, int32_t sequence_idx, TokenId stop_token, float stop_logprob);

 private:
  void Send(EngineEvent event);
  absl::Status Add(std::shared_ptr<const Request> request);
  void Cancel(RequestKey key);
  void Note(const std::string& command);
  void CancelSequence(RequestKey key, int32_t sequence_idx);
  // False if its end was said before.
  bool TakeLive(RequestKey key, int32_t sequence_idx);

  EventSink& sink_;
  mutable absl::Mutex mutex_;
  absl::Status refusal_ ABSL_GUARDED_BY(mutex_);
  std::function<void(RequestKey)> add_hook_ ABSL_GUARDED_BY(mutex_);
  EngineLoad load_ ABSL_GUARDED_BY(mutex_);
  bool answer_cancels_ ABSL_GUARDED_BY(mutex_) = true;
  std::vector<std::shared_ptr<const Request>> added_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<RequestKey, int32_t>> live_ ABSL_GUARDED_BY(mutex_);
  std::vector<RequestKey> cancels_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> commands_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::pair<RequestKey, int32_t>> sequence_cancels_ ABSL_GUARDED_BY(mutex_);
};

// The parts of the nano-gqa checkpoint that the front end borrows, loaded once per process.
struct NanoModel {
  ModelConfig config;
  std::unique_ptr<Tokenizer> tokenizer;
  std::unique_ptr<ChatTemplate> chat_template;
  std::unique_ptr<ClipImageProcessor> image_processor;
  static const NanoModel& Get();
};

FrontendOptions NanoOptions();

// A Frontend on a ScriptedEngine, READY.
class FrontendBench {
 public:
  explicit FrontendBench(FrontendOptions options = NanoOptions(), Clock* clock = &Clock::Real());
  ~FrontendBench();
  Frontend& frontend() { return *frontend_; }
  ScriptedEngine& engine() { return *engine_; }
  // Waits for the stream's end. The reader may go out of scope afterwards.
  absl::Status Run(GenerateSpec spec);

 private:
  Clock& clock_;
  std::unique_ptr<Frontend> frontend_;
  std::unique_ptr<ScriptedEngine> engine_;
};

// One user message with a text.
GenerateSpec TextRequest(std::string_view text = "Hello");
// One user message with a picture and a text.
GenerateSpec ImageRequest(std::string image, std::string_view text = "What is it?");
// A small JPEG of the golden set.
std::string SmallJpeg();

}  // namespace parrot

#endif  // PARROT_TESTS_SERVER_FRONTEND_FRONTEND_BENCH_H_
