#include "model/kernels/attention_impl.h"
#include "model/kernels/simd_emulated.h"

namespace parrot::kernels {

const AttentionKernels kAttentionEmulated8 = AttentionKernel<Emulated<8>>::kTable;
const AttentionKernels kAttentionEmulated16 = AttentionKernel<Emulated<16>>::kTable;

const AttentionKernels& AttentionKernelsOf(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return kAttentionAvx2;
    case Isa::kAvx512:
    case Isa::kAvx512Bf16:
    case Isa::kAmx:
      return kAttentionAvx512;
    case Isa::kEmulatedAvx2:
      return kAttentionEmulated8;
    case Isa::kEmulatedAvx512:
    case Isa::kEmulatedAvx512Bf16:
    case Isa::kEmulatedAmx:
      return kAttentionEmulated16;
  }
  __builtin_unreachable();
}

}  // namespace parrot::kernels
