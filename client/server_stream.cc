#include "client/server_stream.h"

#include <map>
#include <utility>

#include "base/check.h"
#include "client/call_status.h"
#include "grpc/health/v1/health.grpc.pb.h"
#include "parrot/v1/generation.grpc.pb.h"

namespace parrot {

template <typename Response>
ServerStream<Response>::ServerStream(std::unique_ptr<grpc::ClientContext> context,
                                     Cancellation* cancellation,
                                     const Prepare& prepare)
    : context_(std::move(context)), cancellation_(cancellation) {
  if (cancellation_ != nullptr) cancellation_->Attach(*context_);
  reader_ = prepare(context_.get(), &queue_);
  reader_->StartCall(this);
}

template <typename Response>
ServerStream<Response>::ServerStream(absl::Status error)
    : cancellation_(nullptr), over_(true), status_(std::move(error)) {}

template <typename Response>
ServerStream<Response>::~ServerStream() {
  static_cast<void>(Finish());
  if (cancellation_ != nullptr && context_ != nullptr) cancellation_->Detach(*context_);
  queue_.Shutdown();
  void* tag = nullptr;
  bool ok = false;
  while (queue_.Next(&tag, &ok)) {
  }
}

// At most one operation is outstanding, so the next tag is its.
template <typename Response>
bool ServerStream<Response>::WaitForTag() {
  void* tag = nullptr;
  bool ok = false;
  PARROT_CHECK(queue_.Next(&tag, &ok));
  return ok;
}

template <typename Response>
bool ServerStream<Response>::Next(Response* response) {
  if (over_) return false;
  if (!started_) {
    started_ = true;
    if (!WaitForTag()) {
      ReadStatus();
      return false;
    }
  }
  reader_->Read(response, this);
  if (WaitForTag()) {
    received_ = true;
    return true;
  }
  ReadStatus();
  return false;
}

template <typename Response>
void ServerStream<Response>::ReadStatus() {
  grpc::Status status;
  reader_->Finish(&status, this);
  WaitForTag();
  status_ = CallStatus(status, *context_);
  over_ = true;
}

template <typename Response>
void ServerStream<Response>::Cancel() {
  if (context_ != nullptr) context_->TryCancel();
}

template <typename Response>
absl::Status ServerStream<Response>::Finish() {
  if (!over_) {
    Cancel();
    Response ignored;
    while (Next(&ignored)) {
    }
  }
  return status_;
}

template <typename Response>
std::string ServerStream<Response>::request_id() const {
  if (!received_) return "";
  const auto& metadata = context_->GetServerInitialMetadata();
  const auto found = metadata.find("x-request-id");
  if (found == metadata.end()) return "";
  return {found->second.data(), found->second.size()};
}

template class ServerStream<v1::GenerateResponse>;
template class ServerStream<grpc::health::v1::HealthCheckResponse>;

}  // namespace parrot
