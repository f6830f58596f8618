#include "tests/e2e/bench/raw_call.h"

#include "absl/synchronization/notification.h"
#include "grpcpp/generic/generic_stub.h"
#include "grpcpp/support/byte_buffer.h"
#include "grpcpp/support/slice.h"

namespace parrot {

grpc::Status CallRaw(const std::shared_ptr<grpc::Channel>& channel,
                     const std::string& method,
                     const std::string& request,
                     grpc::ClientContext& context,
                     std::string* response) {
  grpc::GenericStub stub(channel);
  const grpc::Slice slice(request);
  const grpc::ByteBuffer sent(&slice, 1);
  grpc::ByteBuffer received;
  grpc::Status status;
  absl::Notification done;
  stub.UnaryCall(&context,
                 "/parrot.v1.ParrotService/" + method,
                 grpc::StubOptions(),
                 &sent,
                 &received,
                 [&](grpc::Status result) {
                   status = std::move(result);
                   done.Notify();
                 });
  done.WaitForNotification();
  grpc::Slice bytes;
  if (status.ok() && response != nullptr && received.DumpToSingleSlice(&bytes).ok()) {
    response->assign(reinterpret_cast<const char*>(bytes.begin()), bytes.size());
  }
  return status;
}

}  // namespace parrot
