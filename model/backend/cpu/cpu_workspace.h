// The scratch memory and the threads of one worker on the CPU. Private to the folder. Confined to
// the thread that runs the worker's steps.
#ifndef PARROT_MODEL_BACKEND_CPU_CPU_WORKSPACE_H_
#define PARROT_MODEL_BACKEND_CPU_CPU_WORKSPACE_H_

#include <cstdint>
#include <vector>

#include "ATen/core/Tensor.h"
#include "model/backend/backend.h"
#include "model/kernels/aligned_buffer.h"
#include "model/kernels/gemm.h"
#include "model/kernels/isa.h"
#include "model/kernels/sampling.h"
#include "model/kernels/worker_pool.h"

namespace parrot::cpu {

// Tensors that are lent until their last reference is gone. A steady step asks for the same sizes
// in the same order and gets the same tensors, headers included.
class TensorPool {
 public:
  void BeginStep();
  // Contiguous, uninitialised.
  at::Tensor Take(at::IntArrayRef sizes, at::ScalarType type);

 private:
  struct Entry {
    at::Tensor memory;  // [capacity] bytes
    at::Tensor view;
    int64_t last_step = 0;
    size_t idle_uses = 0;  // of the storage while nobody else holds the view or a part of it
  };
  static bool IsFree(const Entry& entry);

  std::vector<Entry> entries_;
  int64_t step_ = 0;
};

struct CpuWorkspace : Workspace {
  CpuWorkspace(kernels::Isa isa, int num_threads)
      : threads(num_threads), rows(isa), draws(num_threads) {}
  void BeginStep(int64_t) override { tensors.BeginStep(); }

  at::Tensor Floats(at::IntArrayRef sizes) { return tensors.Take(sizes, at::kFloat); }

  // What a thread needs to draw.
  struct DrawMemory {
    void Reserve(int64_t vocab_size, int64_t num_top) {
      logits.reserve(static_cast<size_t>(vocab_size));
      scratch.candidates.reserve(static_cast<size_t>(vocab_size));
      scratch.probabilities.reserve(static_cast<size_t>(vocab_size));
      top.reserve(static_cast<size_t>(num_top));
    }

    std::vector<float> logits;
    kernels::SamplingScratch scratch;
    std::vector<kernels::ScoredToken> top;
  };

  TensorPool tensors;
  kernels::WorkerPool threads;
  kernels::PackedRows rows;
  kernels::GemmScratch gemm;
  kernels::AlignedBuffer attention;
  std::vector<DrawMemory> draws;
};

}  // namespace parrot::cpu

#endif  // PARROT_MODEL_BACKEND_CPU_CPU_WORKSPACE_H_
