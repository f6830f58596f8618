// The innermost loops that drive a core to one of its limits, for each instruction set that this
// machine truly runs. Nothing but what is measured is in them. Thread-safe.
#ifndef PARROT_BENCH_LIMITS_LIMIT_LOOPS_H_
#define PARROT_BENCH_LIMITS_LIMIT_LOOPS_H_

#include <cstddef>
#include <cstdint>
#include <vector>

#include "model/kernels/isa.h"

namespace parrot {

// Hardware follows some streams of addresses better than others: which is best differs by machine.
enum class ReadPattern { kOneStream, kFourStreams, kFourStreamsPrefetched };

struct MemoryLoops {
  // Loads each byte of `data` [bytes] once. REQUIRES: 64-byte aligned; bytes a multiple of 4 KiB.
  void (*read)(const std::byte* data, size_t bytes, ReadPattern pattern) = nullptr;
  // a[i] = b[i] + 3 c[i]; `streaming`: stores that go past the caches. As above, for each array.
  void (*triad)(float* a, const float* b, const float* c, size_t count, bool streaming) = nullptr;
};

// REQUIRES: NativeIsas() has `isa`.
MemoryLoops MemoryLoopsOf(kernels::Isa isa);

enum class Arithmetic { kFloat32, kBFloat16, kInt8 };

// Operands stay in registers, results are thrown away. A product and its sum are two operations.
struct PeakLoop {
  Arithmetic arithmetic = Arithmetic::kFloat32;
  kernels::Isa isa = kernels::Isa::kAvx2;  // that brings it
  const char* instruction = "";            // its mnemonic
  int64_t operations = 0;                  // of one iteration
  void (*run)(int64_t iterations) = nullptr;
};

// Those of this machine; empty without AVX2.
std::vector<PeakLoop> NativePeakLoops();

}  // namespace parrot

#endif  // PARROT_BENCH_LIMITS_LIMIT_LOOPS_H_
