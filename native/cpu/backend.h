#pragma once
#include <memory>

#include "ops/backend.h"

namespace mamba::cpu {

class CpuBackend : public Backend {
 public:
  // `threads` <= 0 takes one per core that this process may run on.
  explicit CpuBackend(int threads);

  std::string name() const override { return "cpu"; }
  std::string describe() const override;
  void* allocate(size_t bytes) override;
  void free(void* data) override;
  size_t memory_free() const override;
  size_t memory_total() const override;
  void* allocate_pinned(size_t bytes) override { return allocate(bytes); }
  void free_pinned(void* data) override { free(data); }
  std::unique_ptr<Stream> create_transfer_stream() override;
  std::unique_ptr<Stream> create_stream(bool deterministic) override;
  std::shared_ptr<Group> create_group(const std::vector<Device*>& devices) override;

  size_t linear_weight_bytes(int64_t n, int64_t k, DType dtype, int64_t group) const override;
  void pack_linear_weight(Stream& stream, const PackLinearWeightParams& params) override;

#define OP(name, Params, ...) void name(Stream& stream, const Params& params) override;
#include "ops/ops.def"

 private:
  int threads_;
};

}  // namespace mamba::cpu
