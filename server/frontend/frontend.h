// Frontend: everything between a protocol and the engine. A protocol parses bytes into a
// GenerateSpec, authenticates the caller and submits; the front end validates, admits, prepares
// (images, tokens), hands a Request to the engine, turns the engine's tokens into text and delivers
// it through the ResponseStream. Whatever happens, each stream gets exactly one End.
//
//   Frontend frontend(options, {&tokenizer, &chat_template, &image_processor}, &Clock::Real());
//   Engine engine(engine_options, &executor, frontend.event_sink(), &Clock::Real());
//   Dispatcher dispatcher({&engine});
//   frontend.Start(EngineClientOf(dispatcher));
//   RETURN_IF_ERROR(frontend.WarmUp(absl::Minutes(5)));
//   frontend.lifecycle().Set(ServerState::kReady);
//   ... SIGTERM ...  frontend.Drain(timeout);  // lifecycle DRAINING, waits
//   engine.Stop();  frontend.Stop();
//
// Ownership: borrows the engines, the tokenizer and the processors, which outlive Stop(). Owns its
// threads: the preprocess pool, one output thread, one timer thread (deadlines, stalled readers).
// Thread-safe. No lock is held while a callback, the engine or a stream's `ready` runs.
#ifndef PARROT_SERVER_FRONTEND_FRONTEND_H_
#define PARROT_SERVER_FRONTEND_FRONTEND_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "model/api/model_config.h"
#include "scheduler/engine.h"
#include "scheduler/event.h"
#include "scheduler/request.h"
#include "server/frontend/answer.h"
#include "server/frontend/engine_client.h"
#include "server/frontend/generate_spec.h"
#include "server/frontend/identity.h"
#include "server/frontend/image_store.h"
#include "server/frontend/image_uploads.h"
#include "server/frontend/lifecycle.h"
#include "server/frontend/limits.h"
#include "server/frontend/metrics.h"
#include "server/frontend/response_stream.h"

namespace parrot {

class ChatTemplate;
class ClipImageProcessor;
class Tokenizer;

struct FrontendOptions {
  ModelConfig model;
  std::vector<std::string> served_names;  // at least one
  std::string server_version;
  std::string device;   // "cpu", "cuda"
  std::string dtype;    // what --dtype came to
  std::string backend;  // what computes
  int64_t num_parameters = 0;
  std::vector<std::string> languages = {"en", "zh", "pt", "ar", "tr", "ru"};
  FrontendLimits limits;
  CapacityLimits capacity;
  int32_t max_engine_queue = 32;
  // Of the worker, for metrics.
  int32_t block_size = 0;  // tokens per KV block
  int32_t num_blocks = 0;
  bool caches_experts = false;
  bool with_vllm_metrics = false;  // render vLLM's names as well
  uint64_t default_seed = 0;
};

// Borrowed; immutable or thread-safe.
struct FrontendModels {
  const Tokenizer* tokenizer = nullptr;
  const ChatTemplate* chat_template = nullptr;
  const ClipImageProcessor* image_processor = nullptr;
};

struct ModelInfo {
  std::string model;  // the name asked for, or the first
  std::vector<std::string> served_names;
  std::string server_version;
  std::string model_revision;
  std::vector<std::string> languages;
  int32_t image_tokens = 0;
  int32_t image_size = 0;
  int32_t num_experts = 0;
  int32_t vocab_size = 0;
  int32_t num_layers = 0;
  int32_t hidden_size = 0;
  int64_t num_parameters = 0;
  std::string dtype;
  std::string device;
  FrontendLimits limits;
  std::vector<std::string> unsupported_options;
};

struct TokenizeResult {
  std::string model;
  std::vector<TokenId> token_ids;
};

struct CountTokensResult {
  std::string model;
  Usage usage;
  int32_t max_model_len = 0;
};

class Frontend {
 public:
  Frontend(const FrontendOptions& options, const FrontendModels& models, Clock* clock);
  // Stops. REQUIRES: no call of a protocol is in progress, no stream's callback will run.
  ~Frontend();
  Frontend(const Frontend&) = delete;
  Frontend& operator=(const Frontend&) = delete;

  // The sink to build the engine with.
  EventSink* event_sink();
  // Starts the threads. Call once, before traffic.
  void Start(EngineClient engine);
  // Runs one small request with a picture through every stage, before READY. DEADLINE_EXCEEDED
  // after `timeout`.
  [[nodiscard]] absl::Status WarmUp(absl::Duration timeout);
  // Ends what is left with UNAVAILABLE and joins the threads. The engine must have stopped or
  // delivered its last event. Idempotent.
  void Stop();

  // -- Calls
  // --------------------------------------------------------------------------------------- Never
  // blocks and always succeeds: the outcome, refusals included, arrives at `stream`, perhaps before
  // this returns. stream->request_id() is set from the start. The key names the call to Cancel.
  // Kind kRoute yields Accepted, OutputFinished with `routing`, End.
  RequestKey Submit(GenerateSpec spec,
                    const Identity& identity,
                    const std::shared_ptr<ResponseStream>& stream);
  // The client has gone (or cancelled): frees the request in whatever stage, the engine's part
  // within one step, and detaches the stream's reader. Unknown and finished keys are ignored.
  void Cancel(RequestKey key);
  // Without images or the engine, on the caller's thread: microseconds for a question, up to a
  // quarter of a second for the longest text.
  absl::StatusOr<TokenizeResult> Tokenize(const std::optional<std::string>& model,
                                          std::string_view text) const;
  // Fields as in GenerateSpec; options other than messages, prefix, placement and model are
  // ignored.
  absl::StatusOr<CountTokensResult> CountTokens(GenerateSpec spec) const;
  absl::StatusOr<ModelInfo> GetModelInfo(const std::optional<std::string>& model) const;
  // Keeps an image, to be named by its digest in later requests of the same tenant. Never blocks:
  // `done` is called once with the outcome, perhaps before this returns. What is returned is for
  // CancelPutImage; null if it was refused at once.
  std::shared_ptr<ImageUpload> PutImage(PutImageSpec spec,
                                        const Identity& identity,
                                        ImageUpload::Done done);
  // `done` gets CANCELLED, unless it was called.
  void CancelPutImage(ImageUpload& upload);
  // Which of them are kept for this tenant, in their order; those that are stay longest.
  struct HasImagesResult {
    std::string model;
    std::vector<bool> present;
  };
  absl::StatusOr<HasImagesResult> HasImages(const std::optional<std::string>& model,
                                            const std::vector<std::string>& digests,
                                            const Identity& identity) const;
  // A request that a protocol refused before it could Submit (oversized, unparsable, unknown
  // caller): counts it in parrot_rejected_total.
  void CountRejected(const absl::Status& status);

  // -- State
  // ---------------------------------------------------------------------------------------
  Lifecycle& lifecycle();
  Metrics& metrics();
  EngineLoad load() const;  // of all workers; empty before Start, as the next
  std::vector<EngineLoad> worker_loads() const;
  // Ends every live request with this id, the client's or a minted one: its client gets CANCELLED,
  // reason ABORTED. How many this call ended.
  int32_t Abort(std::string_view request_id);
  // As the engine's: while paused, requests are taken and wait. Idempotent.
  void Pause();
  void Resume();
  // Forgets what no live request uses of prefixes and images, and every digest.
  void FlushCache();
  // DRAINING, resumes a paused engine, then waits until no request lives and every stream was read
  // to its end, `timeout` at most; what is left then ends with UNAVAILABLE. True if nothing was
  // left.
  bool Drain(absl::Duration timeout);
  // Requests not yet ended and not yet given back by the engine; bytes of images they hold.
  int32_t live_requests() const;
  int64_t image_bytes() const;
  ImageStore::Stats image_store() const;
  // Waits until live_requests() is 0. For drain and tests.
  bool WaitUntilIdle(absl::Duration timeout);
  // Ends what has passed its deadline and aborts stalled readers; the timer thread does it several
  // times a second while requests live. Public for tests with a fake clock.
  void CheckTimers();

 private:
  class Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_FRONTEND_H_
