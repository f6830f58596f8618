// FakeServer: the whole server (ports, front end, engine, scheduler) on a fake executor, as the
// measurements need it. What the executor costs is measured apart: it is no part of the server.
//
// Configuration and tokenizer are those of the golden checkpoint nano-gqa. Every token is a piece
// of ASCII text, so each is a delta of its own. Whatever fails ends the program with a message.
#ifndef PARROT_BENCH_SERVER_OVERHEAD_FAKE_SERVER_H_
#define PARROT_BENCH_SERVER_OVERHEAD_FAKE_SERVER_H_

#include <atomic>
#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "absl/time/time.h"
#include "server/logging/logger.h"
#include "server/server.h"

namespace parrot {

struct FakeServerOptions {
  int32_t max_num_seqs = 8;
  int32_t max_queue_size = 1024;
  int32_t max_model_len = 4096;  // memory for so much is there for every sequence
  absl::Duration step_time;      // a step waits so long,
  absl::Duration step_work;      // and computes so long
  bool log_requests = false;     // needed by refusal_seconds
};

class FakeServer {
 public:
  explicit FakeServer(const FakeServerOptions& options);
  FakeServer(const FakeServer&) = delete;
  FakeServer& operator=(const FakeServer&) = delete;

  int32_t port() const { return server_->grpc_port(); }
  Frontend& frontend() { return *server_->frontend(); }
  // CPU time of the executor's thread until its last step.
  absl::Duration executor_cpu() const { return absl::Nanoseconds(executor_cpu_ns_.load()); }
  // From the arrival of a request to its refusal with RESOURCE_EXHAUSTED, of each so far.
  std::vector<double> refusal_seconds();

 private:
  ServedModel MakeModel(const FakeServerOptions& options, const Options& server);

  std::atomic<int64_t> executor_cpu_ns_{0};
  absl::Mutex mutex_;
  std::vector<std::string> log_lines_ ABSL_GUARDED_BY(mutex_);
  std::unique_ptr<Logger> logger_;
  std::unique_ptr<Server> server_;
};

}  // namespace parrot

#endif  // PARROT_BENCH_SERVER_OVERHEAD_FAKE_SERVER_H_
