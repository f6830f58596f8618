#include "model/kernels/row_functions_impl.h"
#include "model/kernels/simd_avx512.h"

namespace parrot::kernels {

const RowFunctions kRowFunctionsAvx512 = RowKernels<Avx512>::kTable;

}  // namespace parrot::kernels
