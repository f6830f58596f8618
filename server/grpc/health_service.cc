#include "server/grpc/health_service.h"

#include <utility>

#include "base/check.h"

namespace parrot {
namespace {

using grpc::health::v1::HealthCheckRequest;
using grpc::health::v1::HealthCheckResponse;

constexpr size_t kMaxWatches = 1024;

}  // namespace

// One Watch stream. All fields are guarded by the service's mutex. StartWrite and Finish run no
// reaction inline, so they may be called under it.
class HealthService::WatchCall final : public grpc::ServerWriteReactor<HealthCheckResponse> {
 public:
  WatchCall(HealthService* service, std::string name)
      : service_(*service), name_(std::move(name)) {}

  // Sends the state if it is news and no write is out.
  void UpdateLocked(Status status) {
    current_ = status;
    if (writing_ || finished_ || current_ == sent_) return;
    sent_ = current_;
    writing_ = true;
    response_.set_status(sent_);
    StartWrite(&response_);
  }

  // Finishes, after the write that is out.
  void EndLocked(grpc::Status status) {
    if (ending_) return;
    ending_ = true;
    end_ = std::move(status);
    if (!writing_) FinishLocked();
  }

  void OnWriteDone(bool ok) override {
    absl::MutexLock lock(&service_.mutex_);
    writing_ = false;
    if (ending_) return FinishLocked();
    if (!ok) return EndLocked(grpc::Status::CANCELLED);
    UpdateLocked(current_);
  }
  void OnCancel() override {
    absl::MutexLock lock(&service_.mutex_);
    EndLocked(grpc::Status::CANCELLED);
  }
  void OnDone() override {
    {
      absl::MutexLock lock(&service_.mutex_);
      service_.watches_.erase(this);
    }
    delete this;
  }
  const std::string& name() const { return name_; }

 private:
  ~WatchCall() override = default;
  void FinishLocked() {
    if (finished_) return;
    finished_ = true;
    Finish(end_);
  }

  HealthService& service_;
  const std::string name_;
  HealthCheckResponse response_;
  Status current_ = HealthCheckResponse::UNKNOWN;
  Status sent_ = HealthCheckResponse::UNKNOWN;
  grpc::Status end_;
  bool writing_ = false;
  bool ending_ = false;
  bool finished_ = false;
};

HealthService::HealthService() = default;

HealthService::~HealthService() {
  absl::MutexLock lock(&mutex_);
  PARROT_CHECK(watches_.empty()) << "the server must shut down first";
}

HealthService::Status HealthService::StatusLocked(const std::string& service) const {
  bool serving = false;
  if (service.empty() || service == "parrot.v1.ParrotService" || service == "readiness") {
    serving = ready_ && alive_ && !shut_down_;
  } else if (service == "liveness") {
    serving = alive_;
  } else {
    return HealthCheckResponse::SERVICE_UNKNOWN;
  }
  return serving ? HealthCheckResponse::SERVING : HealthCheckResponse::NOT_SERVING;
}

void HealthService::NotifyLocked() {
  for (WatchCall* watch : watches_) watch->UpdateLocked(StatusLocked(watch->name()));
}

void HealthService::SetReady(bool ready) {
  absl::MutexLock lock(&mutex_);
  ready_ = ready;
  NotifyLocked();
}

void HealthService::SetAlive(bool alive) {
  absl::MutexLock lock(&mutex_);
  alive_ = alive;
  NotifyLocked();
}

void HealthService::Shutdown() {
  absl::MutexLock lock(&mutex_);
  shut_down_ = true;
  NotifyLocked();
  for (WatchCall* watch : watches_) {
    watch->EndLocked(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down"));
  }
}

grpc::ServerUnaryReactor* HealthService::Check(grpc::CallbackServerContext* context,
                                               const HealthCheckRequest* request,
                                               HealthCheckResponse* response) {
  grpc::ServerUnaryReactor* reactor = context->DefaultReactor();
  Status status = HealthCheckResponse::UNKNOWN;
  {
    absl::MutexLock lock(&mutex_);
    status = StatusLocked(request->service());
  }
  if (status == HealthCheckResponse::SERVICE_UNKNOWN) {
    reactor->Finish(grpc::Status(grpc::StatusCode::NOT_FOUND, "unknown service"));
    return reactor;
  }
  response->set_status(status);
  reactor->Finish(grpc::Status::OK);
  return reactor;
}

grpc::ServerWriteReactor<HealthCheckResponse>* HealthService::Watch(
    grpc::CallbackServerContext*, const HealthCheckRequest* request) {
  auto* watch = new WatchCall(this, request->service());
  absl::MutexLock lock(&mutex_);
  const bool is_full = watches_.size() >= kMaxWatches;
  watches_.insert(watch);
  if (is_full) {
    watch->EndLocked(grpc::Status(grpc::StatusCode::RESOURCE_EXHAUSTED, "too many watches"));
    return watch;
  }
  watch->UpdateLocked(StatusLocked(watch->name()));
  if (shut_down_) {
    watch->EndLocked(grpc::Status(grpc::StatusCode::UNAVAILABLE, "the server is shutting down"));
  }
  return watch;
}

}  // namespace parrot
