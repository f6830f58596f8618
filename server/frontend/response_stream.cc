#include "server/frontend/response_stream.h"

#include <utility>

#include "base/check.h"
#include "base/error_status.h"

namespace parrot {
namespace {

void Run(const std::shared_ptr<const ResponseStream::ReadyCallback>& ready, ReadyReason reason) {
  if (ready != nullptr && *ready) (*ready)(reason);
}

}  // namespace

ResponseStream::ResponseStream(const ResponseStreamOptions& options, ReadyCallback ready)
    : mode_(options.mode),
      stall_timeout_(options.stall_timeout),
      clock_(options.clock != nullptr ? *options.clock : Clock::Real()),
      ready_(std::make_shared<const ReadyCallback>(std::move(ready))) {}

bool ResponseStream::HasEventLocked() const {
  if (mode_ == StreamMode::kWhole) return end_.has_value();
  if (end_.has_value()) return true;
  if (!has_output_) return false;
  if (accepted_.has_value()) return true;
  for (const PendingOutput& output : outputs_) {
    if (!output.piece.empty() || (output.finished.has_value() && !output.finish_taken)) return true;
  }
  return false;
}

std::optional<AnswerEvent> ResponseStream::NextLocked() {
  if (!HasEventLocked()) return std::nullopt;
  const bool failed_whole = mode_ == StreamMode::kWhole && !end_->ok();
  if (has_output_ && !failed_whole) {
    if (accepted_.has_value()) {
      AcceptedEvent accepted = std::move(*accepted_);
      accepted_.reset();
      return accepted;
    }
    for (size_t i = 0; i < outputs_.size(); ++i) {
      PendingOutput& output = outputs_[i];
      if (!output.piece.empty()) {
        return DeltaEvent{.output_idx = static_cast<int32_t>(i),
                          .piece = std::exchange(output.piece, {}),
                          .routing = std::exchange(routing_, {})};
      }
      if (output.finished.has_value() && !output.finish_taken) {
        output.finish_taken = true;
        return std::move(*output.finished);
      }
    }
  }
  if (!end_.has_value()) return std::nullopt;
  return EndEvent{*end_};
}

std::optional<AnswerEvent> ResponseStream::Take() {
  std::shared_ptr<const ReadyCallback> released;  // destroyed without the lock
  absl::MutexLock lock(&mutex_);
  if (reader_ == ReaderState::kDone) return std::nullopt;
  std::optional<AnswerEvent> event = NextLocked();
  if (!event.has_value()) {
    reader_ = ReaderState::kArmed;
    return event;
  }
  reader_ = ReaderState::kDue;
  due_since_ = clock_.Now();
  if (std::holds_alternative<EndEvent>(*event)) {
    reader_ = ReaderState::kDone;
    released = std::move(ready_);
    DropPendingLocked();
  }
  return event;
}

void ResponseStream::Detach() {
  std::shared_ptr<const ReadyCallback> released;
  absl::MutexLock lock(&mutex_);
  reader_ = ReaderState::kDone;
  released = std::move(ready_);
  DropPendingLocked();
}

std::shared_ptr<const ResponseStream::ReadyCallback> ResponseStream::WakeLocked() {
  if (reader_ != ReaderState::kArmed || !HasEventLocked()) return nullptr;
  reader_ = ReaderState::kDue;
  due_since_ = clock_.Now();
  return ready_;
}

void ResponseStream::DropPendingLocked() {
  accepted_.reset();
  outputs_.clear();
  outputs_.shrink_to_fit();
  routing_.clear();
}

std::string ResponseStream::request_id() const {
  absl::MutexLock lock(&mutex_);
  return request_id_;
}

void ResponseStream::SetRequestId(std::string request_id) {
  absl::MutexLock lock(&mutex_);
  request_id_ = std::move(request_id);
}

void ResponseStream::Accept(AcceptedEvent accepted, int32_t num_outputs) {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value() || reader_ == ReaderState::kDone) return;
  accepted_ = std::move(accepted);
  outputs_.resize(static_cast<size_t>(num_outputs));
}

void ResponseStream::Push(int32_t output_idx, AnswerPiece piece) {
  if (piece.empty()) return;
  std::shared_ptr<const ReadyCallback> ready;
  {
    absl::MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    has_output_ = true;
    if (reader_ == ReaderState::kDone) return;
    PARROT_CHECK(static_cast<size_t>(output_idx) < outputs_.size()) << "output " << output_idx;
    PendingOutput& output = outputs_[output_idx];
    output.num_tokens += static_cast<int32_t>(piece.token_ids.size());
    output.num_blocked += piece.num_blocked;
    output.piece.Append(std::move(piece));
    ready = WakeLocked();
  }
  Run(ready, ReadyReason::kEvent);
}

void ResponseStream::AddPromptLogprobs(PromptTokenLogprobs logprobs) {
  absl::MutexLock lock(&mutex_);
  if (!accepted_.has_value() || end_.has_value()) return;  // the reader has gone
  accepted_->prompt_logprobs.push_back(std::move(logprobs));
}

void ResponseStream::SetRouting(std::vector<ImageRouting> routing) {
  absl::MutexLock lock(&mutex_);
  if (end_.has_value() || reader_ == ReaderState::kDone) return;
  routing_ = std::move(routing);
}

void ResponseStream::FinishOutput(OutputFinishedEvent finished) {
  std::shared_ptr<const ReadyCallback> ready;
  {
    absl::MutexLock lock(&mutex_);
    if (end_.has_value()) return;
    has_output_ = true;
    if (reader_ == ReaderState::kDone) return;
    const auto idx = static_cast<size_t>(finished.output_idx);
    PARROT_CHECK(idx < outputs_.size() && !outputs_[idx].finished.has_value()) << "output " << idx;
    outputs_[idx].finished = std::move(finished);
    ready = WakeLocked();
  }
  Run(ready, ReadyReason::kEvent);
}

bool ResponseStream::End(absl::Status status, const OutputFinishedEvent& fallback) {
  std::shared_ptr<const ReadyCallback> ready;
  {
    absl::MutexLock lock(&mutex_);
    if (end_.has_value()) return false;
    end_ = std::move(status);
    if (reader_ == ReaderState::kDone) return true;
    for (size_t i = 0; has_output_ && i < outputs_.size(); ++i) {
      if (outputs_[i].finished.has_value()) continue;
      outputs_[i].finished = fallback;
      outputs_[i].finished->output_idx = static_cast<int32_t>(i);
      outputs_[i].finished->usage.completion_tokens = outputs_[i].num_tokens;
      outputs_[i].finished->usage.blocked_tokens = outputs_[i].num_blocked;
    }
    ready = WakeLocked();
  }
  Run(ready, ReadyReason::kEvent);
  return true;
}

bool ResponseStream::AbortIfStalled(absl::Time now) {
  std::shared_ptr<const ReadyCallback> ready;
  {
    absl::MutexLock lock(&mutex_);
    if (reader_ != ReaderState::kDue || now - due_since_ < stall_timeout_) return false;
    DropPendingLocked();
    end_ = TooSlow();
    due_since_ = absl::InfiniteFuture();
    ready = ready_;
  }
  Run(ready, ReadyReason::kAborted);
  return true;
}

absl::Status ResponseStream::TooSlow() {
  return ErrorStatus(absl::StatusCode::kAborted,
                     "client too slow: it read nothing for too long",
                     {.reason = "CLIENT_TOO_SLOW"});
}

bool ResponseStream::has_output() const {
  absl::MutexLock lock(&mutex_);
  return has_output_;
}

bool ResponseStream::ended() const {
  absl::MutexLock lock(&mutex_);
  return end_.has_value();
}

bool ResponseStream::closed() const {
  absl::MutexLock lock(&mutex_);
  return reader_ == ReaderState::kDone;
}

size_t ResponseStream::pending_bytes() const {
  absl::MutexLock lock(&mutex_);
  size_t bytes = 0;
  for (const PendingOutput& output : outputs_) {
    bytes += output.piece.text.size() + output.piece.token_ids.size() * sizeof(TokenId);
  }
  return bytes;
}

}  // namespace parrot
