#include "bench/limits/isa_loops.h"
#include "bench/limits/limit_loops_impl.h"
#include "model/kernels/simd_avx512.h"

namespace parrot {
namespace {

struct Vector : kernels::Avx512 {
  static void Stream(float* p, F a) { _mm512_stream_ps(p, a); }
};

}  // namespace

MemoryLoops Avx512MemoryLoops() { return {.read = Read<Vector>, .triad = Triad<Vector>}; }

PeakLoop Avx512FmaPeak() { return FmaPeakLoop<Vector>(kernels::Isa::kAvx512); }

}  // namespace parrot
