#include "model/kernels/attention_impl.h"
#include "model/kernels/simd_avx2.h"

namespace parrot::kernels {

const AttentionKernels kAttentionAvx2 = AttentionKernel<Avx2>::kTable;

}  // namespace parrot::kernels
