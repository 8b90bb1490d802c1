#pragma once
// A product of random operands, to see whether another way to compute it gives the bits of run_linear_chains().
#include "cuda/context.h"
#include "ops/linear.h"

namespace mamba::cuda {

class ProductTrial {
 public:
  // With `like`'s sizes, strides, types and factors; it has operands of its own, as large as those. Waits for the
  // device.
  ProductTrial(const LinearParams& like, Context& context);
  ~ProductTrial();
  ProductTrial(const ProductTrial&) = delete;
  ProductTrial& operator=(const ProductTrial&) = delete;

  // False where there is no memory for the operands, or no such kernel for them: then nothing else may be called.
  bool ready() const { return ready_; }
  // With an output of their own, which reset() sets to what it was.
  const LinearParams& operands() const { return operands_; }
  void reset() const;
  // Whether what lies in the output now are the bits of run_linear_chains().
  bool same_bits() const;

 private:
  LinearParams operands_;
  Context& context_;
  size_t out_bytes_ = 0;
  void *memory_ = nullptr, *out_ = nullptr, *expected_ = nullptr;
  unsigned* differing_ = nullptr;
  bool ready_ = false;
};

}  // namespace mamba::cuda
