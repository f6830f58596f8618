// Functions of rows of floats, one version per instruction set: what sampling and the vision
// operations are made of. Private to the folder. Thread-safe.
//
// A sum goes over V::kLanes partial sums, lane i taking elements i, i + kLanes, ..., which are then
// added as V::Sum does; doubles are summed in the same order by every instruction set.
#ifndef PARROT_MODEL_KERNELS_ROW_FUNCTIONS_H_
#define PARROT_MODEL_KERNELS_ROW_FUNCTIONS_H_

#include <cstdint>

#include "model/kernels/isa.h"

namespace parrot::kernels {

// Probabilities below e^-kNegligible of the largest are taken for 0: no double notices them.
inline constexpr float kNegligible = 256.0f;

struct RowExtremes {
  int64_t index = -1;  // of the largest, the first among equals; -1: no element above -infinity
  float largest = 0.0f;
  bool finite = false;         // every element is a number
  bool bounded_above = false;  // no element is NaN or +infinity
};

struct RowFunctions {
  RowExtremes (*find_extremes)(const float* x, int64_t n);
  // terms[i] = exp(x[i] / temperature - top), the quotient in fp32, the rest in double, within 2
  // units in the last place. Returns their sum. REQUIRES: x[i] / temperature <= top.
  double (*exp_terms)(const float* x, int64_t n, float temperature, float top, double* terms);
  // sum of a[i] * b[i]
  float (*dot)(const float* a, const float* b, int64_t n);
  // out[i] = a[i] + b[i]; out may be either.
  void (*add)(const float* a, const float* b, int64_t n, float* out);
  // out[i] = fma(..fma(weights[1], x[stride + i], weights[0] * x[i])..), `count` >= 1 terms, first
  // to last; then fma(extra_weight, extra[i], it) unless `extra` is null.
  void (*weighted_sum)(const float* weights,
                       int64_t count,
                       const float* x,
                       int64_t stride,
                       float extra_weight,
                       const float* extra,
                       int64_t n,
                       float* out);
};

const RowFunctions& RowFunctionsOf(Isa isa);

// One per instruction set: each is defined in the source with its flags.
extern const RowFunctions kRowFunctionsAvx2, kRowFunctionsAvx512;
extern const RowFunctions kRowFunctionsEmulated8, kRowFunctionsEmulated16;

}  // namespace parrot::kernels

#endif  // PARROT_MODEL_KERNELS_ROW_FUNCTIONS_H_
