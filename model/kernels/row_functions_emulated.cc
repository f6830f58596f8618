#include "model/kernels/row_functions_impl.h"
#include "model/kernels/simd_emulated.h"

namespace parrot::kernels {

const RowFunctions kRowFunctionsEmulated8 = RowKernels<Emulated<8>>::kTable;
const RowFunctions kRowFunctionsEmulated16 = RowKernels<Emulated<16>>::kTable;

const RowFunctions& RowFunctionsOf(Isa isa) {
  switch (isa) {
    case Isa::kAvx2:
      return kRowFunctionsAvx2;
    case Isa::kAvx512:
    case Isa::kAvx512Bf16:
    case Isa::kAmx:
      return kRowFunctionsAvx512;
    case Isa::kEmulatedAvx2:
      return kRowFunctionsEmulated8;
    case Isa::kEmulatedAvx512:
    case Isa::kEmulatedAvx512Bf16:
    case Isa::kEmulatedAmx:
      return kRowFunctionsEmulated16;
  }
  __builtin_unreachable();
}

}  // namespace parrot::kernels
