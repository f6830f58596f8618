// Roofline: the speed of a piece of work as a share of what the machine allows, both measured in
// turns, so that a neighbour who slows down one slows down the other. Work cannot take less time
// than its arithmetic at the measured peak, nor than its bytes at the measured read rate; the
// longer of the two is the limit. Confined to one thread.
#ifndef PARROT_BENCH_KERNELS_ROOFLINE_H_
#define PARROT_BENCH_KERNELS_ROOFLINE_H_

#include <cstddef>
#include <functional>
#include <string>
#include <vector>

#include "bench/limits/limit_loops.h"
#include "bench/limits/limit_meter.h"
#include "bench/measure/measure.h"
#include "bench/measure/report.h"
#include "model/kernels/isa.h"
#include "model/kernels/worker_pool.h"

namespace parrot {

// Of one call.
struct Work {
  double flop = 0.0;
  double bytes = 0.0;  // that come from memory
};

class Roofline {
 public:
  struct Options {
    int num_threads = 1;
    RepeatOptions repeats;
    double sample_seconds = 0.25;            // of the work; the limits take a sixth of it each
    size_t cycle_bytes = size_t{256} << 20;  // read before anything is read again
  };
  explicit Roofline(const Options& options);

  const Options& options() const { return options_; }
  kernels::WorkerPool& pool() { return pool_; }
  // How many copies of something so large have to take turns to come from memory each time, as far
  // as a quarter of the free memory goes; at least one.
  size_t NumCopies(size_t bytes) const;

  // What Measure adds to a row.
  static constexpr char kShareColumn[] = "share of limit, %";
  static std::vector<std::string> Columns();
  // Measures `call`(0), `call`(1), ... `arithmetic` is the one that the work is done in.
  // REQUIRES: NativeIsas() has `isa`.
  void Measure(const Work& work,
               kernels::Isa isa,
               Arithmetic arithmetic,
               const std::function<void(size_t)>& call,
               std::vector<Cell>& row);

 private:
  double CallsPerSecond(const std::function<void(size_t)>& call);

  const Options options_;
  kernels::WorkerPool pool_;
  LimitMeter meter_;
  const std::vector<PeakLoop> peaks_;
  ReadPattern best_pattern_ = ReadPattern::kOneStream;
  size_t next_call_ = 0;
};

}  // namespace parrot

#endif  // PARROT_BENCH_KERNELS_ROOFLINE_H_
