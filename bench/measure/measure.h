// Repeats of a measurement, on a machine that others may be using.
//
// A repeat during which other processes took more than 3 % of a core is repeated itself, up to a
// limit; when that is not enough the result says so. Others' time is what the cores worked
// (/proc/stat) less what this process did (/proc/self/stat). Both are counted in ticks of 10 ms, so
// two ticks are allowed on top: a repeat should take a quarter of a second or more. Time that a
// neighbour on the same host takes shows only where the hypervisor reports it (steal).
//
// Confined to one thread at a time.
#ifndef PARROT_BENCH_MEASURE_MEASURE_H_
#define PARROT_BENCH_MEASURE_MEASURE_H_

#include <cstdint>
#include <functional>
#include <vector>

namespace parrot {

double NowSeconds();  // of a steady clock

// Whether others disturb, from its construction on.
class IdleCheck {
 public:
  IdleCheck();
  bool Disturbed() const;

 private:
  double start_seconds_;
  int64_t start_ticks_;
};

struct Spread {
  double minimum = 0.0;
  double median = 0.0;  // the lower one of two
  double maximum = 0.0;
};
Spread SpreadOf(std::vector<double> values);  // not empty

struct RepeatOptions {
  int repeats = 5;
  int max_extra = 5;  // repeats in place of disturbed ones
};

// The spread of each value that `measure` returns (as many each time), over options.repeats calls.
struct Repeated {
  std::vector<Spread> values;
  bool disturbed = false;  // some of the repeats that count were
};
Repeated Repeat(const RepeatOptions& options, const std::function<std::vector<double>()>& measure);

}  // namespace parrot

#endif  // PARROT_BENCH_MEASURE_MEASURE_H_
