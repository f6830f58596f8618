// Requests of a benchmark from a JSONL file: one conversation a line, in the format of
// client/messages/messages_json.h, either the list itself or an object around it:
//
//   [{"role": "user", "content": "What is it?"}]
//   {"messages": [...], "language": "pt", "max_tokens": 32}
#ifndef PARROT_CLIENT_BENCH_DATASET_WORKLOAD_H_
#define PARROT_CLIENT_BENCH_DATASET_WORKLOAD_H_

#include <cstdint>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "absl/status/statusor.h"
#include "client/bench/workload.h"

namespace parrot {

// What the file leaves open.
struct DatasetOptions {
  std::optional<std::string> model;      // served name
  std::optional<int32_t> output_tokens;  // max_tokens of lines that name none; absent: the server's
  bool ignore_eos = false;
};

class DatasetWorkload final : public Workload {
 public:
  // Reads the file and the pictures that it names, relative to it. INVALID_ARGUMENT whose field is
  // the line, e.g. "line 3.messages[0].role". Blank lines are skipped; a file without a request
  // is an error.
  static absl::StatusOr<std::unique_ptr<DatasetWorkload>> Read(const std::string& path,
                                                               const DatasetOptions& options);

  // In the file's order, again from the top at its end.
  BenchRequest Make(int64_t ordinal) const override { return requests_[ordinal % size()]; }
  int64_t size() const { return static_cast<int64_t>(requests_.size()); }

  // Of the file, and of all requests with their pictures.
  static constexpr int64_t kMaxBytes = int64_t{4} << 30;

 private:
  explicit DatasetWorkload(std::vector<BenchRequest> requests) : requests_(std::move(requests)) {}

  const std::vector<BenchRequest> requests_;
};

}  // namespace parrot

#endif  // PARROT_CLIENT_BENCH_DATASET_WORKLOAD_H_
