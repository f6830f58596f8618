// Counts heap allocations of the whole process by replacing the global operator new. A binary that
// links this counts from its start; nothing else changes. Thread-safe.
#ifndef PARROT_BENCH_DECODE_STEPS_ALLOCATION_COUNTER_H_
#define PARROT_BENCH_DECODE_STEPS_ALLOCATION_COUNTER_H_

#include <cstdint>

namespace parrot {

// Calls of operator new so far.
int64_t NumAllocations();

}  // namespace parrot

#endif  // PARROT_BENCH_DECODE_STEPS_ALLOCATION_COUNTER_H_
