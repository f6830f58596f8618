#include "client/generate_stream.h"

#include <utility>

#include "absl/strings/str_cat.h"
#include "base/error_status.h"
#include "client/call_status.h"

namespace parrot {

GenerateStream::GenerateStream(std::unique_ptr<Stream> stream, int32_t num_outputs, Hooks hooks)
    : stream_(std::move(stream)), hooks_(std::move(hooks)), num_outputs_(num_outputs) {}

bool GenerateStream::Next(v1::GenerateResponse* event) {
  while (!stream_->Next(event)) {
    if (!CallAgain()) return false;
  }
  hooks_.on_failed = nullptr;
  if (hooks_.on_accepted != nullptr) std::exchange(hooks_.on_accepted, nullptr)();
  if (event->has_finish()) ++num_finished_;
  if (event->has_accepted()) request_id_ = event->accepted().request_id();
  if (request_id_.empty()) request_id_ = stream_->request_id();
  return true;
}

bool GenerateStream::CallAgain() {
  if (hooks_.on_failed == nullptr) return false;
  std::unique_ptr<Stream> again = std::exchange(hooks_.on_failed, nullptr)(stream_->Finish());
  if (again == nullptr) return false;
  absl::MutexLock lock(&mutex_);
  if (cancelled_) again->Cancel();
  stream_ = std::move(again);
  return true;
}

void GenerateStream::Cancel() {
  absl::MutexLock lock(&mutex_);
  cancelled_ = true;
  stream_->Cancel();
}

absl::Status GenerateStream::Finish() {
  absl::Status status = stream_->Finish();
  if (!status.ok()) {
    if (!GetRequestId(status).empty()) return status;
    return WithRequestId(std::move(status), request_id_);
  }
  if (num_finished_ == num_outputs_) return status;
  return WithRequestId(
      ErrorStatus(
          absl::StatusCode::kInternal,
          absl::StrCat(
              "the stream ended after ", num_finished_, " of ", num_outputs_, " terminal events"),
          {.reason = "STREAM_INCOMPLETE"}),
      request_id_);
}

}  // namespace parrot
