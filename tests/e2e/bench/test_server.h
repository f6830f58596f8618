// TestServer: the whole server in the test's process, on free ports of the loopback address, with a
// fake executor (or one that the test brings). The tokenizer and the configuration are those of the
// golden checkpoint nano-gqa, so prompts, images and limits are real; only the tokens are made up.
//
//   TestServer server;                                    // READY
//   Answer answer = Generate(server.stub(), TextRequest("hello"));
//   server.ExpectIdle();                                  // nothing is left of it
#ifndef PARROT_TESTS_E2E_BENCH_TEST_SERVER_H_
#define PARROT_TESTS_E2E_BENCH_TEST_SERVER_H_

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "grpcpp/channel.h"
#include "grpcpp/client_context.h"
#include "grpcpp/support/channel_arguments.h"
#include "parrot/v1/generation.grpc.pb.h"
#include "server/logging/logger.h"
#include "server/options/options.h"
#include "server/server.h"
#include "tests/fakes/fake_model_executor.h"

namespace parrot {

// The log of a server under test. Thread-safe.
class LogLines {
 public:
  void Add(const std::string& line);
  std::vector<std::string> lines() const;
  bool Contains(const std::string& text) const;

 private:
  mutable absl::Mutex mutex_;
  std::vector<std::string> lines_ ABSL_GUARDED_BY(mutex_);
};

struct TestServerConfig {
  // Ports, model and the lame duck are replaced.
  Options options;
  FakeExecutorOptions executor;  // capacity is filled in; one for each of options.num_workers
  int32_t num_blocks = 256;      // of each
  bool serve = true;             // false: the test calls Serve()
};

class TestServer {
 public:
  explicit TestServer(TestServerConfig config = {});
  ~TestServer();

  // With the fake executors. The test fails if it does not get READY.
  void Serve();
  Server& server() { return *server_; }
  FakeModelExecutor& executor(int worker = 0) { return *executors_[worker]; }
  Frontend& frontend() { return *server_->frontend(); }
  LogLines& log() { return log_; }

  std::shared_ptr<grpc::Channel> Channel(const grpc::ChannelArguments& arguments = {});
  v1::ParrotService::Stub& stub() { return *stub_; }
  std::string address() const;
  std::string admin_address() const;

  // Waits until every request has ended, then: no live request, no block in use, no slot, no image
  // bytes, and the executors saw no broken rule.
  void ExpectIdle();
  // Body of GET `path`; the status line's code in `status`.
  std::string HttpGet(const std::string& path, int* status = nullptr);
  // Shuts down without lame duck; true if nothing was lost.
  bool Shutdown() { return server_->Shutdown(absl::ZeroDuration()); }

 private:
  const TestServerConfig config_;
  LogLines log_;
  std::unique_ptr<Logger> logger_;
  std::unique_ptr<Server> server_;
  std::vector<FakeModelExecutor*> executors_;  // owned by server_
  std::unique_ptr<v1::ParrotService::Stub> stub_;
};

// nano-gqa's configuration and tokenizer on any executor; null: on none yet.
ServedModel GoldenModel(std::unique_ptr<ModelExecutor> executor);

}  // namespace parrot

#endif  // PARROT_TESTS_E2E_BENCH_TEST_SERVER_H_
