#include "model/kernels/gemm_impl.h"
#include "model/kernels/gemm_tiles_impl.h"
#include "model/kernels/simd_emulated.h"
#include "model/kernels/tile_emulated.h"

namespace parrot::kernels {

using internal::Bf16Item;
using internal::FloatItem;
using internal::FloatWeights;
using internal::MakeGemmKernels;
using internal::PairWeights;

constinit const GemmKernels kGemmEmulated8 =
    MakeGemmKernels<Emulated<8>, FloatWeights, FloatItem>();
constinit const GemmKernels kGemmEmulated16 =
    MakeGemmKernels<Emulated<16>, FloatWeights, FloatItem>();
constinit const GemmKernels kGemmEmulatedBf16 =
    MakeGemmKernels<Emulated<16>, PairWeights, Bf16Item>();
constinit const GemmKernels kGemmEmulatedAmx =
    internal::MakeTileKernels<Emulated<16>, EmulatedTiles>();

}  // namespace parrot::kernels
