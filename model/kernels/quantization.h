// How users name the formats of weights.
#ifndef PARROT_MODEL_KERNELS_QUANTIZATION_H_
#define PARROT_MODEL_KERNELS_QUANTIZATION_H_

#include <optional>
#include <string_view>

#include "model/kernels/gemm.h"

namespace parrot::kernels {

inline constexpr char kQuantizationNames[] = "none, int8, int8-g128, int8-g32, int4-g128, int4-g32";

// "none" is `plain`; "int8" has one scale per output, "-gN" one per N inputs. nullopt for another
// name.
std::optional<WeightEncoding> ParseQuantization(std::string_view name, WeightFormat plain);

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_QUANTIZATION_H_
