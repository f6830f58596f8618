#include "model/kernels/quantization.h"

#include <string>
#include <utility>

namespace parrot::kernels {

std::optional<WeightEncoding> ParseQuantization(std::string_view name, WeightFormat plain) {
  if (name == "none") return WeightEncoding{.format = plain};
  if (name == "int8") return WeightEncoding{.format = WeightFormat::kInt8};
  for (const auto& [prefix, format] :
       {std::pair("int8-g", WeightFormat::kInt8), std::pair("int4-g", WeightFormat::kInt4)}) {
    for (const auto& [suffix, group] : {std::pair("32", 32), std::pair("128", 128)}) {
      if (name == std::string(prefix) + suffix) {
        return WeightEncoding{.format = format, .group_size = group};
      }
    }
  }
  return std::nullopt;
}

}  // namespace parrot::kernels
