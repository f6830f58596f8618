#include "server/frontend/cancel_stage.h"

namespace parrot {

const char* CancelStageName(CancelStage stage) {
  switch (stage) {
    case CancelStage::kPreprocessQueue:
      return "preprocess_queue";
    case CancelStage::kPreprocess:
      return "preprocess";
    case CancelStage::kEngine:
      return "engine";
    case CancelStage::kDecode:
      return "decode";
    case CancelStage::kWrite:
      break;
  }
  return "write";
}

}  // namespace parrot
