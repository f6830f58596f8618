#include "train/activation_checkpoint.h"

#include <memory>
#include <utility>

#include "ATen/core/grad_mode.h"
#include "torch/csrc/autograd/autograd.h"
#include "torch/csrc/autograd/custom_function.h"

namespace parrot {
namespace {

using Part = std::function<at::Tensor(const at::Tensor&)>;

// A closure in the form in which torch keeps a function's own data.
struct PartHolder : torch::CustomClassHolder {
  explicit PartHolder(Part part) : part(std::move(part)) {}
  Part part;
};

struct Recompute : torch::autograd::Function<Recompute> {
  static at::Tensor forward(torch::autograd::AutogradContext* context,
                            const std::shared_ptr<Part>& part,
                            const at::Tensor& x,
                            const at::TensorList& weights) {
    torch::autograd::variable_list saved = {x};
    saved.insert(saved.end(), weights.begin(), weights.end());
    context->save_for_backward(saved);
    context->saved_data["part"] = c10::IValue::make_capsule(c10::make_intrusive<PartHolder>(*part));
    return (*part)(x);
  }

  static torch::autograd::variable_list backward(torch::autograd::AutogradContext* context,
                                                 const torch::autograd::variable_list& gradients) {
    torch::autograd::variable_list saved = context->get_saved_variables();
    const auto holder =
        c10::static_intrusive_pointer_cast<PartHolder>(context->saved_data["part"].toCapsule());
    const at::AutoGradMode enable_grad(true);
    saved[0] = saved[0].detach().set_requires_grad(true);
    const at::Tensor out = holder->part(saved[0]);
    std::vector<size_t> wanted;
    torch::autograd::variable_list inputs;
    for (size_t i = 0; i < saved.size(); ++i) {
      if (!saved[i].requires_grad()) continue;
      wanted.push_back(i);
      inputs.push_back(saved[i]);
    }
    const torch::autograd::variable_list found = torch::autograd::grad({out},
                                                                       inputs,
                                                                       gradients,
                                                                       /*retain_graph=*/false,
                                                                       /*create_graph=*/false,
                                                                       /*allow_unused=*/true);
    torch::autograd::variable_list result(saved.size() + 1);  // the closure has none
    for (size_t i = 0; i < wanted.size(); ++i) result[wanted[i] + 1] = found[i];
    return result;
  }
};

}  // namespace

at::Tensor CheckpointActivations(Part part,
                                 const at::Tensor& x,
                                 const std::vector<at::Tensor>& weights) {
  return Recompute::apply(std::make_shared<Part>(std::move(part)), x, at::TensorList(weights));
}

}  // namespace parrot
