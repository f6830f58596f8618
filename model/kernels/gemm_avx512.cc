#include "model/kernels/gemm_impl.h"
#include "model/kernels/simd_avx512.h"

namespace parrot::kernels {

constinit const GemmKernels kGemmAvx512 =
    internal::MakeGemmKernels<Avx512, internal::FloatWeights, internal::FloatItem>();

}  // namespace parrot::kernels
