#include "model/api/model_config.h"

namespace parrot {

const char* DataTypeName(DataType type) {
  switch (type) {
    case DataType::kFloat32:
      return "float32";
    case DataType::kBFloat16:
      return "bfloat16";
    case DataType::kFloat16:
      return "float16";
  }
  return "unknown";
}

int DataTypeBytes(DataType type) { return type == DataType::kFloat32 ? 4 : 2; }

}  // namespace parrot
