// Activation checkpointing: a part of the model keeps only its input for the backward pass and is
// computed again there. Memory falls from all activations to one row set per part, time rises by
// about a third.
#ifndef PARROT_TRAIN_ACTIVATION_CHECKPOINT_H_
#define PARROT_TRAIN_ACTIVATION_CHECKPOINT_H_

#include <functional>
#include <vector>

#include "ATen/core/Tensor.h"

namespace parrot {

// part(x), differentiable with respect to `x` and `weights`. `part` is a pure function of its
// argument and of `weights`, which name every tensor with gradients that it reads; it is kept until
// the backward pass has run.
at::Tensor CheckpointActivations(std::function<at::Tensor(const at::Tensor&)> part,
                                 const at::Tensor& x,
                                 const std::vector<at::Tensor>& weights);

}  // namespace parrot

#endif  // PARROT_TRAIN_ACTIVATION_CHECKPOINT_H_
