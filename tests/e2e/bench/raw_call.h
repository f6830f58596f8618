// Calls with bytes that need not be a message of the service.
#ifndef PARROT_TESTS_E2E_BENCH_RAW_CALL_H_
#define PARROT_TESTS_E2E_BENCH_RAW_CALL_H_

#include <memory>
#include <string>

#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/status.h"

namespace parrot {

// Sends `request` to parrot.v1.ParrotService/`method` and waits for the status. `response`, if not
// null, gets the bytes of a unary answer.
grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel,
                     const std::string& method,
                     const std::string& request,
                     grpc::ClientContext& context,
                     std::string* response = nullptr);

}  // namespace parrot

#endif  // PARROT_TESTS_E2E_BENCH_RAW_CALL_H_
