// What the sources of each instruction set give to limit_loops.cc. The functions that are returned
// may be called on machines with the instructions only; these here are compiled with the same
// flags, so that goes for them too.
#ifndef PARROT_BENCH_LIMITS_ISA_LOOPS_H_
#define PARROT_BENCH_LIMITS_ISA_LOOPS_H_

#include "bench/limits/limit_loops.h"

namespace parrot {

MemoryLoops Avx2MemoryLoops();
PeakLoop Avx2FmaPeak();
PeakLoop Avx2Int8Peak();  // maddubs, madd, add

MemoryLoops Avx512MemoryLoops();
PeakLoop Avx512FmaPeak();
PeakLoop Avx512Bf16Peak();  // AVX512-BF16
PeakLoop Avx512Int8Peak();  // AVX512-VNNI

// Tiles of 16 x 64 bytes. REQUIRES: the kernel has permitted them (NativeIsas asks).
PeakLoop AmxBf16Peak();
PeakLoop AmxInt8Peak();

}  // namespace parrot

#endif  // PARROT_BENCH_LIMITS_ISA_LOOPS_H_
