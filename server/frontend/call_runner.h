// CallRunner: the path of every request, from Submit to the end of its stream: validate, admit,
// wait for a preprocess thread, prepare, hand to the engine, deliver. It owns the threads of the
// front end and the table of calls; Frontend is its face to the protocols.
//
//   protocol thread   Submit: validate, admit, post          (or end the stream with a status)
//   preprocess pool   Prepare: PromptBuilder, engine.add
//   output thread     OutputProcessor: text to the stream; OnEngineFinished
//   timer thread      CheckTimers: deadlines, stalled readers
//
// Any thread may end a call (Cancel, a deadline, the engine's last event); Call::TryEnd lets
// exactly one do it. Thread-safe; no lock is held while the engine or a stream is called.
#ifndef PARROT_SERVER_FRONTEND_CALL_RUNNER_H_
#define PARROT_SERVER_FRONTEND_CALL_RUNNER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <vector>

#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "base/clock.h"
#include "model/text/tokenizer.h"
#include "scheduler/engine.h"
#include "scheduler/event.h"
#include "scheduler/request.h"
#include "server/frontend/admission.h"
#include "server/frontend/call.h"
#include "server/frontend/call_table.h"
#include "server/frontend/engine_client.h"
#include "server/frontend/generate_spec.h"
#include "server/frontend/identity.h"
#include "server/frontend/image_intake.h"
#include "server/frontend/image_uploads.h"
#include "server/frontend/lifecycle.h"
#include "server/frontend/limits.h"
#include "server/frontend/metrics.h"
#include "server/frontend/output_processor.h"
#include "server/frontend/preprocessor.h"
#include "server/frontend/prompt_builder.h"
#include "server/frontend/response_stream.h"
#include "server/frontend/validator.h"

namespace parrot {

class CallRunner {
 public:
  struct Options {
    FrontendLimits limits;
    CapacityLimits capacity;
    int32_t max_engine_queue = 0;
    TokenId eos_token_id = -1;    // ends every answer
    int64_t bytes_per_image = 0;  // of the preprocessed pixels
    int32_t tokens_per_image = 0;
  };
  // Borrowed, longer-lived.
  struct Parts {
    const Tokenizer& tokenizer;
    const Validator& validator;
    const PromptBuilder& prompt_builder;
    const ImageIntake& image_intake;
    Lifecycle& lifecycle;
    Metrics& metrics;
    Clock& clock;
  };
  CallRunner(const Options& options, const Parts& parts);

  EventSink& event_sink() { return output_; }
  void Start(EngineClient engine);
  void Stop();
  // `warm_up`: before the server is READY.
  RequestKey Submit(GenerateSpec spec,
                    const Identity& identity,
                    const std::shared_ptr<ResponseStream>& stream,
                    bool warm_up);
  void Cancel(RequestKey key);
  ImageUploads& uploads() { return uploads_; }
  int32_t Abort(std::string_view request_id);
  // As the engine's; nothing before Start.
  void Pause();
  void Resume();
  void FlushCache();
  void CheckTimers();
  // Ends every call that lives.
  void EndAll(const absl::Status& status);
  EngineLoad Load() const;  // empty before Start, as the next
  std::vector<EngineLoad> WorkerLoads() const;
  const CallTable& calls() const { return calls_; }
  int64_t image_bytes() const { return admission_.image_bytes(); }

 private:
  absl::StatusOr<std::shared_ptr<Call>> Admit(GenerateSpec&& spec,
                                              const Identity& identity,
                                              std::shared_ptr<ResponseStream> stream,
                                              Call::Facts facts,
                                              bool warm_up);
  std::string MintRequestId(RequestKey key) const;
  void Prepare(Call& call);
  absl::Status PrepareAndAdd(Call& call, ValidRequest request);
  // Makes every choice an answer of its own, whose tokens are given.
  absl::Status ForceChoices(ValidRequest& request) const;
  std::shared_ptr<const Request> MakeRequest(const Call& call,
                                             ValidRequest valid,
                                             int32_t max_tokens,
                                             PreparedPrompt prompt) const;
  void OnEngineFinished(Call& call, const FinishEvent& event);
  // Ends the call, unless it has ended, with a status that is not OK. True if it did.
  bool EndCall(Call& call, const absl::Status& status, FinishReason reason);
  void ReleaseIfFinished(Call& call);
  // `last`: of the answer that ended last.
  void CountFinished(const Call& call, const OutputFinishedEvent& last);
  // parrot_rejected_total: errors before any output, and readers that were too slow.
  void CountFailure(Call& call, const absl::Status& status);
  // The server is FAILED once the engine says that its worker is dead.
  void NoticeDeadEngine();

  const Options options_;
  const Parts parts_;
  const uint64_t id_seed_;  // of minted request ids
  Admission admission_;     // outlives the calls, whose tickets refer to it
  CallTable calls_;
  EngineClient engine_;  // constant once started_
  std::atomic<bool> started_{false};
  std::atomic<RequestKey> next_key_{1};
  Preprocessor preprocessor_;
  ImageUploads uploads_;
  OutputProcessor output_;
  std::thread timer_;  // touched by Start and Stop alone
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_CALL_RUNNER_H_
