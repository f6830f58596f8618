// The measurements of server_overhead. Each runs a server in this process and its clients in a
// child, and returns figures by name; the unit is the end of the name.
//
// Each is to be called in a process of its own that has no thread yet (child_process.h).
#ifndef PARROT_BENCH_SERVER_OVERHEAD_MEASUREMENTS_H_
#define PARROT_BENCH_SERVER_OVERHEAD_MEASUREMENTS_H_

#include <cstdint>
#include <string>
#include <utility>
#include <vector>

#include "absl/time/time.h"

namespace parrot {

// In the order in which they are shown.
using Figures = std::vector<std::pair<std::string, double>>;

struct StreamsPlan {
  int32_t num_streams = 1;
  // A token for every stream each step_time, or as fast as it goes.
  absl::Duration step_time;
  // A reader on another connection that takes nothing.
  bool stalled_reader = false;
  absl::Duration window = absl::Seconds(5);
};
// CPU and memory of the server, and the pace that its clients see.
Figures MeasureStreams(const StreamsPlan& plan);

struct RefusalsPlan {
  int32_t num_calls = 5000;
  absl::Duration interval = absl::Milliseconds(1);
};
// Requests that find the queue full while the executor computes for two fifths of two cores.
Figures MeasureRefusals(const RefusalsPlan& plan);

// Rendering of /metrics after requests of several kinds.
Figures MeasureMetrics();

}  // namespace parrot

#endif  // PARROT_BENCH_SERVER_OVERHEAD_MEASUREMENTS_H_
