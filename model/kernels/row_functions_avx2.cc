#include "model/kernels/row_functions_impl.h"
#include "model/kernels/simd_avx2.h"

namespace parrot::kernels {

const RowFunctions kRowFunctionsAvx2 = RowKernels<Avx2>::kTable;

}  // namespace parrot::kernels
