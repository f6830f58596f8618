#include "server/grpc/answer_reader.h"

#include <optional>
#include <utility>

#include "base/error_status.h"

namespace parrot {
namespace {

absl::Status TooSlow() {
  return ErrorStatus(absl::StatusCode::kAborted, "client too slow", {.reason = "CLIENT_TOO_SLOW"});
}

}  // namespace

bool AnswerReader::State::Enter() {
  absl::MutexLock lock(&mutex);
  if (closed) return false;
  if (busy) {
    again = true;
    return false;
  }
  busy = true;
  return true;
}

bool AnswerReader::State::Leave() {
  absl::MutexLock lock(&mutex);
  if (again) {
    again = false;
    return false;
  }
  busy = false;
  return true;
}

void AnswerReader::State::Close() {
  absl::MutexLock lock(&mutex);
  closed = true;
}

absl::Status AnswerReader::State::gone() {
  absl::MutexLock lock(&mutex);
  if (!cancelled) return absl::OkStatus();
  return aborted ? TooSlow() : absl::CancelledError("the client has gone");
}

AnswerReader::AnswerReader(Frontend* frontend, Delegate* delegate, AbortTransport abort_transport)
    : frontend_(frontend), delegate_(*delegate), state_(std::make_shared<State>()) {
  state_->reader = this;
  state_->abort_transport = std::move(abort_transport);
}

void AnswerReader::Submit(GenerateSpec spec,
                          const Identity& identity,
                          StreamMode mode,
                          absl::Duration stall_timeout) {
  stream_ = std::make_shared<ResponseStream>(
      ResponseStreamOptions{.mode = mode, .stall_timeout = stall_timeout, .clock = nullptr},
      [state = state_](ReadyReason reason) { OnReady(state, reason); });
  key_ = frontend_->Submit(std::move(spec), identity, stream_);
  Run();
}

void AnswerReader::OnReady(const std::shared_ptr<State>& state, ReadyReason reason) {
  if (reason == ReadyReason::kAborted) {
    // The actor waits for a write that may never end, so the transport is ended under it. Closed
    // means that the actor has just finished after all.
    absl::MutexLock lock(&state->mutex);
    if (state->closed) return;
    state->aborted = true;
    state->abort_transport(TooSlow());
    return;
  }
  if (state->Enter()) state->reader->Run();
}

void AnswerReader::Run() {
  // Keeps the state until the end of this function: the delegate may delete the reader.
  const std::shared_ptr<State> state = state_;
  while (true) {
    if (const absl::Status gone = state->gone(); !gone.ok()) {
      state->Close();
      return delegate_.OnEnd(gone);
    }
    std::optional<AnswerEvent> event = stream_->Take();
    if (!event.has_value()) {
      if (state->Leave()) return;
      continue;
    }
    if (const EndEvent* end = std::get_if<EndEvent>(&*event)) {
      state->Close();
      return delegate_.OnEnd(end->status);
    }
    if (delegate_.OnEvent(*event)) return;  // still the actor, until OnWriteDone
  }
}

void AnswerReader::OnWriteDone(bool ok) {
  if (!ok) GiveUp();
  Run();
}

void AnswerReader::OnCancel() {
  GiveUp();
  if (state_->Enter()) Run();
}

void AnswerReader::GiveUp() {
  {
    absl::MutexLock lock(&state_->mutex);
    if (state_->closed) return;
    state_->cancelled = true;
  }
  frontend_->Cancel(key_);
}

}  // namespace parrot
