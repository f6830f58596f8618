#include "bench/limits/limit_meter.h"

#include <unistd.h>

#include <algorithm>
#include <cmath>
#include <fstream>
#include <string>

#include "bench/measure/measure.h"

namespace parrot {
namespace {

constexpr size_t kChunkBytes = size_t{4} << 20;  // handed to a thread at a time
constexpr size_t kPage = 4096;
constexpr int64_t kChunkOperations = int64_t{1} << 27;
constexpr int64_t kSetReads = 16;  // of a set in cache, by one piece of work

size_t BufferBytes(size_t wanted) {
  const size_t bytes = std::min(wanted, AvailableMemoryBytes() / 4);
  return std::max(bytes / kChunkBytes * kChunkBytes, 3 * kChunkBytes);
}

size_t CacheBytes(int name) { return static_cast<size_t>(std::max(0L, sysconf(name))); }

}  // namespace

size_t AvailableMemoryBytes() {
  std::ifstream file("/proc/meminfo");
  std::string name, unit;
  for (size_t kib = 0; file >> name >> kib; std::getline(file, unit)) {
    if (name == "MemAvailable:") return kib << 10;
  }
  return static_cast<size_t>(sysconf(_SC_AVPHYS_PAGES)) * kPage;
}

size_t L2Bytes() { return CacheBytes(_SC_LEVEL2_CACHE_SIZE); }

size_t L3Bytes() { return CacheBytes(_SC_LEVEL3_CACHE_SIZE); }

LimitMeter::LimitMeter(const Options& options)
    : sample_seconds_(options.sample_seconds), buffer_(BufferBytes(options.buffer_bytes)) {
  // A page that was never written has no memory of its own.
  std::fill_n(buffer_.as<float>(), buffer_.size() / sizeof(float), 1.0f);
}

template <typename Chunk>
double LimitMeter::ChunksPerSecond(kernels::WorkerPool& pool, const Chunk& chunk) const {
  for (int64_t count = pool.num_threads();;) {
    const double start = NowSeconds();
    pool.Run(count, chunk);
    const double seconds = NowSeconds() - start;
    const double rate = static_cast<double>(count) / std::max(seconds, 1e-9);
    if (seconds >= 0.5 * sample_seconds_) return rate;
    // The first runs warm up; no guess from a short one is trusted far.
    count = std::min(16 * count, 1 + static_cast<int64_t>(std::ceil(rate * sample_seconds_)));
  }
}

double LimitMeter::ReadRate(kernels::WorkerPool& pool, kernels::Isa isa, ReadPattern pattern) {
  const MemoryLoops loops = MemoryLoopsOf(isa);
  const auto* data = buffer_.as<std::byte>();
  const auto num_chunks = static_cast<int64_t>(buffer_.size() / kChunkBytes);
  return kChunkBytes * ChunksPerSecond(pool, [&](int64_t i, int) {
           loops.read(
               data + static_cast<size_t>(i % num_chunks) * kChunkBytes, kChunkBytes, pattern);
         });
}

double LimitMeter::CachedReadRate(kernels::WorkerPool& pool, kernels::Isa isa, size_t set_bytes) {
  const MemoryLoops loops = MemoryLoopsOf(isa);
  const size_t most = buffer_.size() / static_cast<size_t>(pool.num_threads());
  const size_t bytes = std::max(kPage, std::min(set_bytes, most) / kPage * kPage);
  const auto* data = buffer_.as<std::byte>();
  return static_cast<double>(kSetReads * static_cast<int64_t>(bytes)) *
         ChunksPerSecond(pool, [&](int64_t, int thread) {
           for (int64_t i = 0; i < kSetReads; ++i) {
             loops.read(data + static_cast<size_t>(thread) * bytes, bytes, ReadPattern::kOneStream);
           }
         });
}

double LimitMeter::TriadRate(kernels::WorkerPool& pool, kernels::Isa isa, bool streaming) {
  const MemoryLoops loops = MemoryLoopsOf(isa);
  const size_t chunks_each = buffer_.size() / kChunkBytes / 3;
  constexpr size_t kCount = kChunkBytes / sizeof(float);
  auto* data = buffer_.as<float>();
  return 3 * kChunkBytes * ChunksPerSecond(pool, [&](int64_t i, int) {
           const size_t chunk = static_cast<size_t>(i) % chunks_each;
           float* a = data + chunk * kCount;
           loops.triad(
               a, a + chunks_each * kCount, a + 2 * chunks_each * kCount, kCount, streaming);
         });
}

double LimitMeter::PeakRate(kernels::WorkerPool& pool, const PeakLoop& loop) {
  const int64_t iterations = kChunkOperations / loop.operations;
  return static_cast<double>(iterations * loop.operations) *
         ChunksPerSecond(pool, [&](int64_t, int) { loop.run(iterations); });
}

}  // namespace parrot
