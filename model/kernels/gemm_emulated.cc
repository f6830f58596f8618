#include "model/kernels/gemm_impl.h"
#include "model/kernels/simd_emulated.h"

namespace parrot::kernels {

constinit const GemmKernels kGemmEmulated8 = internal::MakeGemmKernels<Emulated<8>>();
constinit const GemmKernels kGemmEmulated16 = internal::MakeGemmKernels<Emulated<16>>();

}  // namespace parrot::kernels
