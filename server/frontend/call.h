// Call: one admitted request inside the front end, from Submit to the moment when both its stream
// has ended and the engine has given it back. It holds the request's stage and its numbers; the
// rules of who may do what next are here, so that threads that race (a cancel, a deadline, the
// engine's last event) agree on one end.
//
// Thread-safe; no method calls out. Shared by the table of calls and the threads that work on it.
#ifndef PARROT_SERVER_FRONTEND_CALL_H_
#define PARROT_SERVER_FRONTEND_CALL_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/live_count.h"
#include "model/text/tokenizer.h"
#include "scheduler/event.h"
#include "scheduler/request.h"
#include "server/frontend/admission.h"
#include "server/frontend/answer.h"
#include "server/frontend/cancel_stage.h"
#include "server/frontend/output_text.h"
#include "server/frontend/prompt_builder.h"
#include "server/frontend/response_stream.h"
#include "server/frontend/validator.h"

namespace parrot {

class Call {
 public:
  // Constant after construction.
  struct Facts {
    RequestKey key = 0;
    RequestKind kind = RequestKind::kGenerate;
    std::string request_id;
    std::string tenant;
    std::string model;
    std::string language;
    std::string lock_language;  // "": no language lock
    absl::Time arrival;
    absl::Time deadline;
  };
  Call(Facts facts,
       ValidRequest request,
       std::shared_ptr<ResponseStream> stream,
       std::unique_ptr<Admission::Ticket> ticket);

  const Facts& facts() const { return facts_; }
  ResponseStream& stream() { return *stream_; }
  const std::shared_ptr<ResponseStream>& shared_stream() const { return stream_; }

  // -- Phases: queued -> preparing -> in the engine
  // ------------------------------------------------ The request to prepare; nullopt when the call
  // has ended meanwhile.
  std::optional<ValidRequest> BeginPreparing();
  // The prompt is ready and the engine gets the request next. False when the call has ended.
  struct EngineStart {
    StopRules stop;
    int32_t num_outputs = 1;
    // Not empty: each of the outputs is one of them, and the client sees the most probable alone.
    std::vector<std::string> choices;
    bool wants_logprobs = false;
    int64_t pixel_bytes = 0;  // of the prepared images: what the ticket shrinks to
  };
  bool BeginEngine(const PreparedPrompt& prompt,
                   const Tokenizer& tokenizer,
                   const EngineStart& start);
  // No thread prepares it any more and the engine does not hold it: it was refused or dropped. Call
  // once, after BeginPreparing, unless FinishOutput was called for every output.
  void Leave();

  // -- The end
  // -------------------------------------------------------------------------------------
  struct Ending {
    bool in_engine = false;                             // the engine still holds it: cancel there
    CancelStage stage = CancelStage::kPreprocessQueue;  // where it was
  };
  // nullopt if it has ended before: exactly one caller gets to end the stream.
  std::optional<Ending> TryEnd();
  bool ended() const;
  bool in_engine() const;
  // Ended, and nobody works on it any more.
  bool finished() const;
  // Gives back the admission's room.
  void ReleaseTicket();

  // -- Output: called by the output thread
  // ---------------------------------------------------------
  // Sets its mode.
  void AddRouting(ImageRouting routing);
  std::vector<ImageRouting> routing() const;
  struct Taken {
    AnswerPiece piece;
    bool first_token = false;                        // of all answers
    std::optional<absl::Duration> since_last_token;  // of this answer
    bool stopped = false;                            // a stop string has just been found
  };
  // `at` is when the engine reported the token.
  Taken TakeToken(const TokenEvent& event, absl::Time at, Clock& clock);
  // The engine has said its last word on an answer.
  struct FinishedOutput {
    AnswerPiece tail;  // what was held back
    OutputFinishedEvent event;
    bool is_last = false;    // of the call: it has left the engine
    bool is_hidden = false;  // one of several choices; the last says what became of them
  };
  FinishedOutput FinishOutput(const FinishEvent& event, absl::Time now);
  // Of all answers, as far as they were handed out.
  int32_t num_completion_tokens() const;
  int32_t num_blocked_tokens() const;
  // The end of whatever has not finished; completion tokens are those of all answers.
  OutputFinishedEvent MakeFinish(FinishReason reason, absl::Time now) const;
  Usage prompt_usage() const;

 private:
  enum class Phase { kQueued, kPreparing, kEngine, kLeft };

  const Facts facts_;
  const std::shared_ptr<ResponseStream> stream_;  // and the protocol's call

  mutable absl::Mutex mutex_;
  Phase phase_ ABSL_GUARDED_BY(mutex_) = Phase::kQueued;
  bool ended_ ABSL_GUARDED_BY(mutex_) = false;
  std::optional<ValidRequest> request_ ABSL_GUARDED_BY(mutex_);  // while queued
  std::unique_ptr<Admission::Ticket> ticket_ ABSL_GUARDED_BY(mutex_);
  Usage usage_ ABSL_GUARDED_BY(mutex_);
  AnswerTimings timings_ ABSL_GUARDED_BY(mutex_);
  std::vector<RoutingMode> routing_modes_ ABSL_GUARDED_BY(mutex_);  // by image
  std::vector<ImageRouting> routing_ ABSL_GUARDED_BY(mutex_);
  struct Output {
    OutputText text;
    absl::Time last_token = absl::InfinitePast();
    absl::Duration time_to_first_token;
    absl::Duration detokenize;
    bool finished = false;
    // Of a choice.
    std::vector<TokenId> token_ids;
    double logprob = 0.0;
  };
  // Makes the end of the whole call of the last choice's.
  void Choose(FinishedOutput& result) const ABSL_EXCLUSIVE_LOCKS_REQUIRED(mutex_);

  const Tokenizer* tokenizer_ ABSL_GUARDED_BY(mutex_) = nullptr;  // from BeginEngine on
  bool wants_logprobs_ ABSL_GUARDED_BY(mutex_) = false;
  std::vector<Output> outputs_ ABSL_GUARDED_BY(mutex_);  // likewise
  int32_t num_unfinished_ ABSL_GUARDED_BY(mutex_) = 0;
  std::vector<std::string> choices_ ABSL_GUARDED_BY(mutex_);
  bool has_token_ ABSL_GUARDED_BY(mutex_) = false;

  LiveCount<LiveKind::kCall> live_count_;
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_CALL_H_
