// Requests and calls as the tests of this folder make them.
#ifndef PARROT_TESTS_E2E_BENCH_CALLS_H_
#define PARROT_TESTS_E2E_BENCH_CALLS_H_

#include <functional>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/time/time.h"
#include "google/rpc/error_details.pb.h"
#include "google/rpc/status.pb.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"
#include "parrot/v1/generation.grpc.pb.h"

namespace parrot {

v1::GenerateRequest TextRequest(const std::string& text, int32_t max_tokens = 8);
// One user message: a picture, then the text.
v1::GenerateRequest ImageRequest(const std::string& text, int32_t max_tokens = 8);
// A small PNG of the golden set.
std::string GoldenImage();

// Everything a Generate call brought.
struct Answer {
  std::optional<v1::Accepted> accepted;
  std::string text;
  std::vector<int32_t> token_ids;
  std::optional<v1::Finish> finish;
  int num_messages = 0;
  grpc::Status status;
};

// Reads to the end. `context` may be null: then a deadline of a minute holds.
Answer Generate(v1::ParrotService::Stub& stub,
                const v1::GenerateRequest& request,
                grpc::ClientContext* context = nullptr);
// Polls until the condition holds; ends the test program when it does not within a minute.
void WaitUntil(const std::function<bool()>& condition);
void SetDeadline(grpc::ClientContext& context, absl::Duration timeout = absl::Minutes(1));

// The google.rpc details of a status, each at most once.
struct Details {
  google::rpc::Status status;
  std::optional<google::rpc::ErrorInfo> error;
  std::optional<google::rpc::BadRequest> bad_request;
  std::optional<google::rpc::PreconditionFailure> precondition;
  std::optional<google::rpc::RetryInfo> retry;
  std::optional<google::rpc::ResourceInfo> resource;
  std::optional<google::rpc::RequestInfo> request;
};
Details DetailsOf(const grpc::Status& status);

std::multimap<std::string, std::string> Trailers(const grpc::ClientContext& context);
std::multimap<std::string, std::string> InitialMetadata(const grpc::ClientContext& context);

}  // namespace parrot

#endif  // PARROT_TESTS_E2E_BENCH_CALLS_H_
