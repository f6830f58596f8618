// A gRPC server in the test's process that answers from a script, on a port of its own. It plays
// the server's part of the wire contract: events, errors with google.rpc details, health, waiting.
// Thread-safe.
#ifndef PARROT_TESTS_CLIENT_FAKE_PARROT_SERVER_H_
#define PARROT_TESTS_CLIENT_FAKE_PARROT_SERVER_H_

#include <deque>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "base/error_status.h"
#include "grpcpp/security/server_credentials.h"
#include "grpcpp/server.h"
#include "parrot/v1/generation.grpc.pb.h"

namespace parrot {

// What one Generate call does: sends the events, then ends with `status`; or, if `hang`, waits
// until the client cancels.
struct GenerateScript {
  std::vector<v1::GenerateResponse> events;
  grpc::Status status;
  bool hang = false;
};

// The events of a plain answer: accepted, one delta a text, finish.
std::vector<v1::GenerateResponse> AnswerEvents(const std::vector<std::string>& texts);
v1::GenerateResponse DeltaEvent(const std::string& text, int32_t token_id);
v1::ImageRouting SixExperts(int32_t image_index);

// A status as the server makes it: ErrorInfo, BadRequest, PreconditionFailure, RetryInfo,
// RequestInfo.
grpc::Status DetailedStatus(grpc::StatusCode code,
                            const std::string& message,
                            const ErrorFacts& facts,
                            const std::string& request_id = "");

class FakeParrotServer : public v1::ParrotService::CallbackService {
 public:
  // One call as it arrived.
  struct Seen {
    v1::GenerateRequest request;  // Generate, GenerateUnary; Route's common fields are copied in
    std::multimap<std::string, std::string> metadata;
    absl::Duration time_left = absl::InfiniteDuration();
  };

  // `port` 0: a free one.
  explicit FakeParrotServer(
      std::shared_ptr<grpc::ServerCredentials> credentials = grpc::InsecureServerCredentials(),
      int port = 0);
  ~FakeParrotServer() override;

  // "127.0.0.1:PORT"
  std::string target() const;
  int port() const { return port_; }

  // The next calls follow these scripts in turn; the last one stays.
  void SetScripts(std::vector<GenerateScript> scripts);
  // Statuses that the next unary calls end with, in turn; then OK.
  void FailUnaryCalls(std::vector<grpc::Status> statuses);
  void SetServing(const std::string& service, bool serving);

  std::vector<Seen> seen() const;
  int num_cancelled() const;
  // False after 20 s without them.
  bool WaitForCalls(size_t num_calls) const;
  bool WaitForCancelled(int num_cancelled) const;

  grpc::ServerWriteReactor<v1::GenerateResponse>* Generate(
      grpc::CallbackServerContext* context, const v1::GenerateRequest* request) override;
  grpc::ServerUnaryReactor* GenerateUnary(grpc::CallbackServerContext* context,
                                          const v1::GenerateRequest* request,
                                          v1::GenerateUnaryResponse* response) override;
  grpc::ServerUnaryReactor* Route(grpc::CallbackServerContext* context,
                                  const v1::RouteRequest* request,
                                  v1::RouteResponse* response) override;
  grpc::ServerUnaryReactor* Tokenize(grpc::CallbackServerContext* context,
                                     const v1::TokenizeRequest* request,
                                     v1::TokenizeResponse* response) override;
  grpc::ServerUnaryReactor* CountTokens(grpc::CallbackServerContext* context,
                                        const v1::CountTokensRequest* request,
                                        v1::CountTokensResponse* response) override;
  grpc::ServerUnaryReactor* GetModelInfo(grpc::CallbackServerContext* context,
                                         const v1::GetModelInfoRequest* request,
                                         v1::GetModelInfoResponse* response) override;

  void OnCancelled();

 private:
  void Record(grpc::CallbackServerContext* context, v1::GenerateRequest request);
  grpc::ServerUnaryReactor* FinishUnary(grpc::CallbackServerContext* context);
  GenerateScript NextScript();

  int port_ = 0;
  std::unique_ptr<grpc::Server> server_;
  mutable absl::Mutex mutex_;
  std::deque<GenerateScript> scripts_ ABSL_GUARDED_BY(mutex_);
  std::deque<grpc::Status> unary_failures_ ABSL_GUARDED_BY(mutex_);
  std::vector<Seen> seen_ ABSL_GUARDED_BY(mutex_);
  int num_cancelled_ ABSL_GUARDED_BY(mutex_) = 0;
};

}  // namespace parrot

#endif  // PARROT_TESTS_CLIENT_FAKE_PARROT_SERVER_H_
