#include "model/kernels/gemm_tiles_impl.h"
#include "model/kernels/simd_avx512_bf16.h"
#include "model/kernels/tile_amx.h"

namespace parrot::kernels {

constinit const GemmKernels kGemmAmx = internal::MakeTileKernels<Avx512Bf16, AmxTiles>();

}  // namespace parrot::kernels
