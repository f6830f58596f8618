// Sends the requests of a Workload to a server and measures the answers: in an open loop, at times
// that do not depend on the answers, or in a closed loop, a fixed number at a time.
//
// One thread does everything, on one completion queue: it sends what is due, reads what arrives,
// and notes when. Nothing is computed there but the requests themselves. Latencies count from the
// time when a request was meant to be sent, so that a server which slows the generator down cannot
// hide it (no coordinated omission).
//
// A server admits a number of streams on one connection (100 by default), the rest would wait in
// the transport; so the generator opens as many connections as its calls need.
//
//   LoadGenerator generator(client_options, workload);
//   LoadResult warm_up = generator.Run({.num_requests = 4, .max_concurrency = 4}, cancellation);
//   LoadResult result = generator.Run({.num_requests = 1000, .arrivals = {.request_rate = 20}},
//                                     cancellation, ShowProgress);
//
// Confined to one thread; the workload is borrowed.
#ifndef PARROT_CLIENT_BENCH_LOAD_GENERATOR_H_
#define PARROT_CLIENT_BENCH_LOAD_GENERATOR_H_

#include <cstdint>
#include <functional>
#include <memory>
#include <vector>

#include "absl/container/flat_hash_map.h"
#include "absl/status/statusor.h"
#include "absl/time/time.h"
#include "client/bench/arrival_schedule.h"
#include "client/bench/request_sample.h"
#include "client/bench/workload.h"
#include "client/cancellation.h"
#include "client/client_options.h"
#include "client/parrot_client.h"
#include "grpcpp/completion_queue.h"

namespace parrot {

struct LoadOptions {
  // Sending ends with whichever comes first; what was sent is waited for. 0: no limit.
  int64_t num_requests = 0;
  absl::Duration duration = absl::InfiniteDuration();
  // An infinite rate together with max_concurrency is the closed loop: the next request is due when
  // an answer ends.
  ArrivalOptions arrivals;
  // Requests in flight at most; 0: no limit. At a finite rate, a request that has to wait for it is
  // late, and its latencies say so.
  int32_t max_concurrency = 0;
};

struct LoadProgress {
  absl::Duration elapsed;
  int64_t num_sent = 0;
  int64_t num_running = 0;
  int64_t num_completed = 0;
  int64_t num_failed = 0;
  int64_t num_output_tokens = 0;
};

struct LoadResult {
  std::vector<RequestSample> samples;  // by ordinal
  absl::Duration duration;             // from the start to the last end
  int64_t peak_running = 0;
  int64_t num_connections = 0;
  absl::Duration client_cpu;  // of the whole process, user and system
  bool interrupted = false;   // by `cancellation`
};

class LoadGenerator {
 public:
  // About every 200 ms while a run lasts, and once at its end.
  using ProgressCallback = std::function<void(const LoadProgress&)>;

  // `streams_per_connection`: calls that share one.
  LoadGenerator(ClientOptions client,
                const Workload& workload,
                int32_t streams_per_connection = 100);
  ~LoadGenerator();
  LoadGenerator(const LoadGenerator&) = delete;
  LoadGenerator& operator=(const LoadGenerator&) = delete;

  // Blocks until all answers are there, or soon after cancellation.Cancel() from another thread.
  // Ordinals go on from those of the runs before. REQUIRES: a bound: num_requests, duration.
  LoadResult Run(const LoadOptions& options,
                 Cancellation& cancellation,
                 const ProgressCallback& on_progress = {});

 private:
  struct Call;
  struct Connection {
    std::unique_ptr<ParrotClient> client;
    int32_t num_calls = 0;
  };
  struct Current;  // of one Run

  void SendOne(Current& run, absl::Time now);
  absl::Status Start(Call& call, const BenchRequest& made, Cancellation& cancellation);
  absl::StatusOr<size_t> FreeConnection();
  void OnTag(Current& run, Call& call, bool ok, absl::Time now);
  void TakeEvent(Current& run, Call& call, absl::Time now);
  void End(Current& run, Call& call, const absl::Status& status, absl::Time now);

  // Constant after construction.
  const ClientOptions client_options_;
  const Workload& workload_;
  const int32_t streams_per_connection_;
  grpc::CompletionQueue queue_;
  std::vector<Connection> connections_;
  absl::flat_hash_map<void*, std::unique_ptr<Call>> calls_;  // in flight, by tag
  int64_t next_ordinal_ = 0;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_LOAD_GENERATOR_H_
