#include "server/frontend/call.h"

#include <utility>

#include "base/check.h"

namespace parrot {

Call::Call(Facts facts,
           ValidRequest request,
           std::shared_ptr<ResponseStream> stream,
           std::unique_ptr<Admission::Ticket> ticket)
    : facts_(std::move(facts)),
      stream_(std::move(stream)),
      request_(std::move(request)),
      ticket_(std::move(ticket)) {}

std::optional<ValidRequest> Call::BeginPreparing() {
  absl::MutexLock lock(&mutex_);
  if (ended_) return std::nullopt;
  PARROT_CHECK(phase_ == Phase::kQueued);
  phase_ = Phase::kPreparing;
  return std::exchange(request_, std::nullopt);
}

bool Call::BeginEngine(const PreparedPrompt& prompt,
                       const Tokenizer& tokenizer,
                       int64_t pixel_bytes) {
  absl::MutexLock lock(&mutex_);
  if (ended_) return false;
  PARROT_CHECK(phase_ == Phase::kPreparing);
  phase_ = Phase::kEngine;
  usage_.image_tokens = prompt.num_image_tokens;
  usage_.text_tokens = static_cast<int32_t>(prompt.text_ids.size());
  timings_.tokenize = prompt.tokenize;
  timings_.decode_image = prompt.decode_image;
  timings_.preprocess = prompt.preprocess;
  detokenizer_.emplace(tokenizer);
  ticket_->Shrink(pixel_bytes);
  return true;
}

void Call::Leave() {
  absl::MutexLock lock(&mutex_);
  PARROT_CHECK(phase_ == Phase::kPreparing || phase_ == Phase::kEngine);
  phase_ = Phase::kLeft;
}

std::optional<Call::Ending> Call::TryEnd() {
  absl::MutexLock lock(&mutex_);
  if (ended_) return std::nullopt;
  ended_ = true;
  Ending ending{.in_engine = phase_ == Phase::kEngine};
  switch (phase_) {
    case Phase::kQueued:
      request_.reset();
      phase_ = Phase::kLeft;
      break;
    case Phase::kPreparing:
      // The thread that prepares it sees the end at its next look, and drops it.
      ending.stage = CancelStage::kPreprocess;
      break;
    case Phase::kEngine:
    case Phase::kLeft:
      ending.stage = usage_.completion_tokens > 0 ? CancelStage::kDecode : CancelStage::kEngine;
      break;
  }
  return ending;
}

bool Call::ended() const {
  absl::MutexLock lock(&mutex_);
  return ended_;
}

bool Call::in_engine() const {
  absl::MutexLock lock(&mutex_);
  return phase_ == Phase::kEngine;
}

bool Call::finished() const {
  absl::MutexLock lock(&mutex_);
  return ended_ && phase_ == Phase::kLeft;
}

void Call::ReleaseTicket() {
  std::unique_ptr<Admission::Ticket> ticket;  // destroyed without the lock
  absl::MutexLock lock(&mutex_);
  ticket = std::move(ticket_);
}

void Call::AddRouting(ImageRouting routing) {
  absl::MutexLock lock(&mutex_);
  routing_.push_back(std::move(routing));
}

std::vector<ImageRouting> Call::routing() const {
  absl::MutexLock lock(&mutex_);
  return routing_;
}

Call::Piece Call::AddToken(TokenId token, absl::Time at, Clock& clock) {
  absl::MutexLock lock(&mutex_);
  Piece piece;
  piece.first_token = usage_.completion_tokens++ == 0;
  if (piece.first_token) {
    timings_.time_to_first_token = at - facts_.arrival;
  } else {
    piece.since_last_token = at - last_token_;
  }
  last_token_ = at;
  const absl::Time start = clock.Now();
  piece.text = detokenizer_->Append(token);
  timings_.detokenize += clock.Now() - start;
  return piece;
}

std::string Call::FinishText() {
  absl::MutexLock lock(&mutex_);
  return detokenizer_->Finish();
}

OutputFinishedEvent Call::MakeFinish(FinishReason reason,
                                     const FinishEvent* event,
                                     absl::Time now) const {
  absl::MutexLock lock(&mutex_);
  OutputFinishedEvent finished{
      .reason = reason, .usage = usage_, .timings = timings_, .routing = routing_};
  finished.timings.total = now - facts_.arrival;
  if (event == nullptr) return finished;
  finished.output_idx = event->sequence_idx;
  finished.stop_token = event->stop_token;
  finished.usage.cached_tokens = event->num_cached_tokens;
  finished.timings.queue = event->times.queue;
  finished.timings.prefill = event->times.prefill;
  finished.timings.decode = event->times.decode;
  finished.timings.clip = event->times.stages[Stage::kClip];
  finished.timings.projector = event->times.stages[Stage::kProjector];
  finished.timings.router = event->times.stages[Stage::kRouter];
  finished.timings.experts = event->times.stages[Stage::kExperts];
  return finished;
}

Usage Call::prompt_usage() const {
  absl::MutexLock lock(&mutex_);
  return {.text_tokens = usage_.text_tokens, .image_tokens = usage_.image_tokens};
}

}  // namespace parrot
