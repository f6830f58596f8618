#include "bench/kernels/roofline.h"

#include <algorithm>
#include <cmath>
#include <cstdint>

namespace parrot {
namespace {

// The fastest way to do such arithmetic on `isa`: its own instruction, else fp32's.
const PeakLoop& PeakOf(const std::vector<PeakLoop>& peaks,
                       kernels::Isa isa,
                       Arithmetic arithmetic) {
  const PeakLoop* best = nullptr;
  for (const PeakLoop& peak : peaks) {
    if (peak.isa > isa) continue;
    if (peak.arithmetic == arithmetic && (best == nullptr || peak.isa >= best->isa)) best = &peak;
  }
  return best != nullptr ? *best : PeakOf(peaks, isa, Arithmetic::kFloat32);
}

}  // namespace

Roofline::Roofline(const Options& options)
    : options_(options),
      pool_(options.num_threads),
      meter_({.buffer_bytes = options.cycle_bytes, .sample_seconds = options.sample_seconds / 6}),
      peaks_(NativePeakLoops()) {
  double best = 0.0;
  for (const ReadPattern pattern :
       {ReadPattern::kOneStream, ReadPattern::kFourStreams, ReadPattern::kFourStreamsPrefetched}) {
    double rate = 0.0;
    for (int i = 0; i < 3; ++i) {
      rate = std::max(rate, meter_.ReadRate(pool_, *kernels::BestIsa(), pattern));
    }
    if (rate > best) best_pattern_ = pattern;
    best = std::max(best, rate);
  }
}

size_t Roofline::NumCopies(size_t bytes) const {
  const size_t budget = std::min(options_.cycle_bytes, AvailableMemoryBytes() / 4);
  return std::max<size_t>(1, (budget + bytes - 1) / bytes);
}

std::vector<std::string> Roofline::Columns() {
  return {"isa",
          "min GFLOP/s",
          "median GFLOP/s",
          "max GFLOP/s",
          "GB/s",
          "limit",
          kShareColumn,
          "disturbed"};
}

double Roofline::CallsPerSecond(const std::function<void(size_t)>& call) {
  for (int64_t count = 1;;) {
    const double start = NowSeconds();
    for (int64_t i = 0; i < count; ++i) call(next_call_++);
    const double seconds = NowSeconds() - start;
    const double rate = static_cast<double>(count) / std::max(seconds, 1e-9);
    if (seconds >= 0.5 * options_.sample_seconds) return rate;
    count =
        std::min(16 * count, 1 + static_cast<int64_t>(std::ceil(rate * options_.sample_seconds)));
  }
}

void Roofline::Measure(const Work& work,
                       kernels::Isa isa,
                       Arithmetic arithmetic,
                       const std::function<void(size_t)>& call,
                       std::vector<Cell>& row) {
  const PeakLoop& peak = PeakOf(peaks_, isa, arithmetic);
  call(next_call_++);  // memory grows, caches fill
  const Repeated repeated = Repeat(options_.repeats, [&] {
    const double read = meter_.ReadRate(pool_, *kernels::BestIsa(), best_pattern_);
    const double flop = meter_.PeakRate(pool_, peak);
    const double calls = CallsPerSecond(call);
    return std::vector<double>{
        calls, read, flop, calls * std::max(work.bytes / read, work.flop / flop)};
  });
  const Spread& calls = repeated.values[0];
  const double read = repeated.values[1].median, flop = repeated.values[2].median;
  row.emplace_back(std::string(IsaName(isa)));
  AddSpread({1e-9 * work.flop * calls.minimum,
             1e-9 * work.flop * calls.median,
             1e-9 * work.flop * calls.maximum},
            1,
            row);
  row.emplace_back(1e-9 * work.bytes * calls.median, 1);
  row.emplace_back(work.bytes / read > work.flop / flop
                       ? Cell(1e-9 * read, 1).text + " GB/s"
                       : Cell(1e-9 * flop, 0).text + " GFLOP/s " + peak.instruction);
  row.emplace_back(100 * repeated.values[3].median, 0);
  row.push_back(DisturbedCell(repeated.disturbed));
}

}  // namespace parrot
