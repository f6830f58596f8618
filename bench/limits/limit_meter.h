// LimitMeter: how fast memory, caches and arithmetic of this machine are right now. One call is one
// sample of about `sample_seconds`; repeats and their spread are the caller's (measure.h).
//
// Work is handed out in pieces of about a millisecond, as the kernels' is, so that a core that a
// neighbour takes away counts as what it is.
//
// Owns the buffer that is read; borrows the pool, whose threads take part, and is confined to the
// pool's owner. REQUIRES: NativeIsas() is not empty.
#ifndef PARROT_BENCH_LIMITS_LIMIT_METER_H_
#define PARROT_BENCH_LIMITS_LIMIT_METER_H_

#include <cstddef>
#include <cstdint>

#include "bench/limits/limit_loops.h"
#include "model/kernels/aligned_buffer.h"
#include "model/kernels/worker_pool.h"

namespace parrot {

// Of the system, now.
size_t AvailableMemoryBytes();
// 0 where the system does not tell.
size_t L2Bytes();
size_t L3Bytes();

class LimitMeter {
 public:
  struct Options {
    size_t buffer_bytes = size_t{1} << 30;  // less where a quarter of the free memory is less
    double sample_seconds = 0.25;
  };
  explicit LimitMeter(const Options& options);

  // All in one per second: bytes, or operations.
  double ReadRate(kernels::WorkerPool& pool, kernels::Isa isa, ReadPattern pattern);
  // Each thread reads its own `set_bytes` over and over: the rate of the cache that they fit.
  double CachedReadRate(kernels::WorkerPool& pool, kernels::Isa isa, size_t set_bytes);
  // Bytes read and written by the program; plain stores make the caches read what they overwrite.
  double TriadRate(kernels::WorkerPool& pool, kernels::Isa isa, bool streaming);
  double PeakRate(kernels::WorkerPool& pool, const PeakLoop& loop);

  size_t buffer_bytes() const { return buffer_.size(); }

 private:
  template <typename Chunk>
  double ChunksPerSecond(kernels::WorkerPool& pool, const Chunk& chunk) const;

  double sample_seconds_;
  kernels::AlignedBuffer buffer_;
};

}  // namespace parrot

#endif  // PARROT_BENCH_LIMITS_LIMIT_METER_H_
