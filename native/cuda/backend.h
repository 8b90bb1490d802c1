#pragma once
#include <memory>

#include "cuda/context.h"
#include "cuda/gemm_plans.h"
#include "ops/backend.h"

namespace mamba::cuda {

class CudaBackend : public Backend {
 public:
  // `index`: a GPU's number among those that the process sees (CUDA_VISIBLE_DEVICES). Throws ErrorCode::NoDevice.
  explicit CudaBackend(int index);

  std::string name() const override { return "cuda"; }
  std::string describe() const override;
  void* allocate(size_t bytes) override;
  void free(void* data) override;
  size_t memory_free() const override;
  size_t memory_total() const override;
  void* allocate_pinned(size_t bytes) override;
  void free_pinned(void* data) override;
  std::unique_ptr<Stream> create_transfer_stream() override;
  std::unique_ptr<Stream> create_stream(bool deterministic) override;
  std::shared_ptr<Group> create_group(const std::vector<Device*>& devices) override;

  size_t linear_weight_bytes(int64_t n, int64_t k, DType dtype, int64_t group) const override;
  void pack_linear_weight(Stream& stream, const PackLinearWeightParams& params) override;

#define OP(name, Params, ...) void name(Stream& stream, const Params& params) override;
#include "ops/ops.def"

 private:
  // The caller's thread: its calls go to this GPU from now on.
  void enter() const;

  Context facts_{};
  std::unique_ptr<GemmPlans> gemm_plans_;
};

}  // namespace mamba::cuda
