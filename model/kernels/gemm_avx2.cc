#include "model/kernels/gemm_impl.h"
#include "model/kernels/simd_avx2.h"

namespace parrot::kernels {

constinit const GemmKernels kGemmAvx2 =
    internal::MakeGemmKernels<Avx2, internal::FloatWeights, internal::FloatItem>();

}  // namespace parrot::kernels
