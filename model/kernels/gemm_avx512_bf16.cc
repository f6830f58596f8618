#include "model/kernels/gemm_impl.h"
#include "model/kernels/simd_avx512_bf16.h"

namespace parrot::kernels {

constinit const GemmKernels kGemmAvx512Bf16 =
    internal::MakeGemmKernels<Avx512Bf16, internal::PairWeights, internal::Bf16Item>();

}  // namespace parrot::kernels
