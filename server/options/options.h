// Every option of parrot-server as one plain struct: names, units and defaults in one place. Each
// member is one row of OptionTable() (option_table.h), which gives it its flag, environment
// variable, configuration-file key, range and help text. Plain data.
#ifndef PARROT_SERVER_OPTIONS_OPTIONS_H_
#define PARROT_SERVER_OPTIONS_OPTIONS_H_

#include <cstdint>
#include <string>
#include <vector>

#include "absl/time/time.h"

namespace parrot {

// Grouped as on the help page, not by size.
struct Options {  // NOLINT(clang-analyzer-optin.performance.Padding)
  // Model.
  std::string model;                            // folder of a checkpoint; required
  std::string tokenizer;                        // folder with tokenizer.json; empty: `model`
  std::vector<std::string> served_model_names;  // empty: the folder's name
  std::string load_format = "auto";             // auto | dummy
  std::string dtype = "auto";                   // auto | float32 | bfloat16
  std::string device = "auto";                  // auto | cpu | cuda
  std::string backend = "auto";                 // auto | cpu | reference; on a CPU
  std::string cpu_isa = "auto";                 // auto | avx2 | avx512 | avx512_bf16 | amx
  std::string quantization = "none";            // of the language model, experts and head
  std::string expert_quantization = "auto";     // auto: as quantization
  std::string head_quantization = "auto";
  std::string vision_quantization = "none";  // of the tower and the projector
  std::string packed_weights_dir;            // empty: none
  std::string kv_cache_dtype = "auto";       // auto | float32 | bfloat16 | int8
  int32_t num_workers = 1;                   // engines beside each other, one copy of weights
  int32_t num_threads = 0;                   // of all workers together; 0: one per core
  int64_t seed = 0;                          // of sampling, where a request gives none

  // Scheduling and memory.
  int32_t max_model_len = 0;  // tokens, prompt and answer; 0: the model's training length
  int32_t max_num_seqs = 8;   // sequences that run at once, of each worker
  int32_t max_num_batched_tokens = 1024;                   // positions of one step
  int32_t max_images_per_step = 1;                         // vision-tower passes of one step
  int32_t block_size = 32;                                 // tokens per KV block
  int64_t kv_cache_memory_bytes = int64_t{2} << 30;        // of keys and values, all workers
  bool enable_prefix_caching = true;                       // keys and values of prompts seen before
  int64_t vision_cache_memory_bytes = int64_t{256} << 20;  // of unused images, all workers
  std::string vision_cache_level = "features";             // off | features | experts
  int32_t max_queue_size = 0;  // requests that wait; 0: 4 x max_num_seqs x num_workers
  absl::Duration queue_timeout = absl::Seconds(30);         // longest wait for the first step
  absl::Duration max_step_time;                             // 0: no limit
  absl::Duration priority_aging = absl::Seconds(10);        // wait that counts as one priority more
  absl::Duration request_timeout = absl::Seconds(60);       // when the client gives no deadline
  absl::Duration max_request_timeout = absl::Seconds(600);  // cap on the client's deadline
  absl::Duration deadline_margin = absl::Milliseconds(50);  // kept for the answer's way back
  absl::Duration client_stall_timeout = absl::Seconds(10);  // a reader that takes nothing: ABORTED
  absl::Duration step_timeout = absl::Seconds(600);         // a longer step counts as a dead engine

  // Requests.
  int32_t max_images_per_prompt = 1;                      // --limit-mm-per-prompt image=N
  int32_t preprocess_threads = 0;                         // 0: one for two cores
  int64_t image_store_memory_bytes = int64_t{128} << 20;  // of images that digests name; 0: none
  bool apply_exif_orientation = false;

  // Network.
  std::string host = "127.0.0.1";
  int32_t http_port = 8000;                            // 0: any free port
  int32_t grpc_port = 8001;                            // 0: any free port
  std::string admin_address = "127.0.0.1:8002";        // host:port of ParrotControlService; "": off
  int64_t grpc_max_message_bytes = int64_t{16} << 20;  // received
  absl::Duration grpc_keepalive_time = absl::Seconds(30);
  absl::Duration grpc_max_connection_age = absl::Seconds(600);        // 0: unlimited
  absl::Duration grpc_max_connection_age_grace = absl::Seconds(600);  // streams then end
  int32_t grpc_max_concurrent_streams = 100;                          // per connection
  std::string enable_reflection = "auto";  // auto (loopback listeners only) | true | false

  // Security.
  std::string api_key_file;  // one key per line: tenant:key or key; "": no keys
  std::string ssl_certfile;  // PEM chain; "": plaintext
  std::string ssl_keyfile;   // PEM
  std::string ssl_ca_certs;  // PEM; set: clients must present a certificate (mTLS)
  bool enable_ssl_refresh = false;
  bool trust_tenant_header = false;

  // Life cycle and logs.
  absl::Duration shutdown_timeout = absl::Seconds(120);  // SIGTERM to exit, lame duck included
  absl::Duration lame_duck = absl::Seconds(15);          // NOT_SERVING but accepting
  std::string log_level = "info";                        // debug | info | warning | error
  std::string log_format = "text";                       // text | json
  bool log_requests = false;                             // one line per finished request
  std::string metrics_compat = "none";                   // none | vllm: its names as well
};

}  // namespace parrot

#endif  // PARROT_SERVER_OPTIONS_OPTIONS_H_
