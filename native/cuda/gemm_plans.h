#pragma once
// The library's matrix products (cuBLASLt), and which of its algorithms, or which cut for the kernel of
// linear_walk.cuh, serves which shape.
#include <memory>

#include "cuda/context.h"
#include "ops/linear_activation.h"

namespace mamba::cuda {

// What e4m3 codes on both sides of a product are multiplied by.
struct CodeScales {
  enum class Share {
    rows,    // x [m], weight [n]
    groups,  // of 128 of k: x [groups][m], weight [groups][n]; m is a multiple of 4
    blocks,  // the same of x; weight [blocks of 128 rows][groups, rounded up to a multiple of 4]
  };
  const float *x, *weight;
  Share share;
};

class GemmPlans {
 public:
  GemmPlans();
  ~GemmPlans();
  GemmPlans(const GemmPlans&) = delete;
  GemmPlans& operator=(const GemmPlans&) = delete;

  // Launches the product and returns true, or false if the library has none for these operands: x and weight must be of
  // one type, and a bias needs a float out. The first product of a shape outside of a capture measures what the library
  // offers, and for more than 64 rows three cuts, on these operands, and waits for it; within a capture it takes the
  // library's first choice. A shape keeps its algorithm, so that the same inputs give the same bits as long as the
  // process lives. For one thread at a time. For a deterministic stream only those count that do not split k,
  // whose bits of random operands were those of run_linear_chains(), and that are faster; a shape that was not seen
  // before has none within a capture. Of the unsplit algorithms that an H200 was offered for six shapes and nine
  // numbers of rows, 394 of 396 gave those bits.
  bool run(const LinearParams& params, Context& context);
  // The product of a gate and its activation in one launch, where that was measured to be faster than run_linear() and
  // run_activation(); false, with nothing launched, where not, and for up to 64 rows. On a stream that is not
  // deterministic.
  bool run(const LinearActivationParams& params, Context& context);
  // The same as the first, of codes, on a stream that is not deterministic and without a bias; neither they nor their
  // scales may lie in the workspace.
  bool run(const LinearParams& params, const CodeScales& scales, Context& context);

 private:
  struct Library;
  std::unique_ptr<Library> library_;
};

// The half of the workspace that products may use; the other is the caller's.
inline constexpr size_t kGemmWorkspaceBytes = kWorkspaceBytes / 2;

}  // namespace mamba::cuda
