#include "model/kernels/attention_impl.h"
#include "model/kernels/simd_avx512.h"

namespace parrot::kernels {

const AttentionKernels kAttentionAvx512 = AttentionKernel<Avx512>::kTable;

}  // namespace parrot::kernels
