// What the metrics of one server are about: constant labels, sizes of label sets, upper buckets.
// Plain data.
#ifndef PARROT_SERVER_FRONTEND_METRICS_OPTIONS_H_
#define PARROT_SERVER_FRONTEND_METRICS_OPTIONS_H_

#include <cstdint>
#include <string>

#include "server/frontend/limits.h"

namespace parrot {

struct MetricsOptions {
  std::string server_version;
  std::string model_name;  // first served name
  std::string model_revision;
  std::string device;  // "cpu", "cuda"
  std::string dtype;
  std::string backend;
  int32_t num_experts = 0;
  int32_t block_size = 0;  // tokens per KV block
  int32_t num_blocks = 0;
  bool caches_experts = false;  // the image cache holds experts' outputs, not features
  FrontendLimits limits;
  bool with_vllm_names = false;  // render those as well
};

}  // namespace parrot

#endif  // PARROT_SERVER_FRONTEND_METRICS_OPTIONS_H_
