#include "bench/limits/limit_loops.h"

#include "bench/limits/isa_loops.h"

namespace parrot {

MemoryLoops MemoryLoopsOf(kernels::Isa isa) {
  return isa == kernels::Isa::kAvx2 ? Avx2MemoryLoops() : Avx512MemoryLoops();
}

std::vector<PeakLoop> NativePeakLoops() {
  std::vector<PeakLoop> loops;
  for (const kernels::Isa isa : kernels::NativeIsas()) {
    if (isa == kernels::Isa::kAvx2) {
      loops.push_back(Avx2FmaPeak());
      loops.push_back(Avx2Int8Peak());
    } else if (isa == kernels::Isa::kAvx512) {
      loops.push_back(Avx512FmaPeak());
      if (kernels::HasAvx512Vnni()) loops.push_back(Avx512Int8Peak());
    } else if (isa == kernels::Isa::kAvx512Bf16) {
      loops.push_back(Avx512Bf16Peak());
    } else {
      loops.push_back(AmxBf16Peak());
      loops.push_back(AmxInt8Peak());
    }
  }
  return loops;
}

}  // namespace parrot
