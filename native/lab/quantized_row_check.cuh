#pragma once
// Checks of quantized_row_ring.cuh against float64, and its times in a chain beside the backend's ring. Included by
// quantized_linear.cu, which has the ops.
#include <memory>
#include <string>
#include <vector>

#include "lab/linear_layers.cuh"
#include "lab/linear_workspace.cuh"
#include "lab/quantized_row_ring.cuh"

namespace {

using namespace mamba;
using namespace mamba::cuda;
using lab::Buffer;
using lab::Host;

// One row as the ring rounds it: fixed point of 16 bits beside the largest of 32 (integers), f16 beside that of 128.
std::vector<double> rounded_row(DType codes, const std::vector<double>& x) {
  std::vector<double> values = x;
  const size_t share = codes == DType::e4m3 ? 128 : 32;
  for (size_t first = 0; first < values.size(); first += share) {
    const size_t end = std::min(values.size(), first + share);
    double most = 0;
    for (size_t i = first; i < end; ++i) most = std::max(most, std::abs(values[i]));
    if (most == 0) continue;
    const int exponent = std::ilogb(most);
    for (size_t i = first; i < end; ++i) {
      values[i] =
          codes == DType::e4m3
              ? std::ldexp(to_float(to_f16(static_cast<float>(std::ldexp(values[i], 14 - exponent)))), exponent - 14)
              : std::nearbyint(values[i] * 32639 / most) * most / 32639;
    }
  }
  return values;
}

struct RowCase {
  DType codes;
  int64_t n, k, group;
  bool normed, wild;  // wild: x of 24 binades
  uint32_t kilobytes = 120;
};

bool check_row(const RowCase& c, lab::LinearWorkspace& workspace) {
  lab::Random random = {static_cast<uint64_t>(c.n * 7 + c.k)};
  const int64_t groups = groups_of(c.k, c.group), row_bytes = code_bytes(c.codes, c.k);
  std::vector<uint8_t> codes(static_cast<size_t>(c.n * row_bytes));
  std::vector<float> scales(static_cast<size_t>(c.n * groups)), offsets(scales.size(), 0.0f);
  for (auto& code : codes) {
    code = static_cast<uint8_t>(random.below(256));
    if (c.codes == DType::e4m3 && (code & 0x7f) == 0x7f) code ^= 1;
  }
  for (auto& scale : scales) scale = static_cast<float>(random.below(128) + 128) * 0x1p-14f;
  if (c.codes == DType::u4) {
    for (auto& offset : offsets) offset = static_cast<float>(random.below(256) - 128) * 0x1p-10f;
  }
  Buffer weight(quantized_weight_bytes(c.n, c.k, c.codes));
  PackLinearWeightParams pack = {c.n,     c.k,    std::make_shared<MemorySource>(codes.data()), weight.data, c.codes,
                                 c.codes, c.group};
  pack.scales = std::make_shared<MemorySource>(scales.data());
  if (c.codes == DType::u4) pack.offsets = std::make_shared<MemorySource>(offsets.data());
  run_pack_linear_weight(pack, workspace.context);
  if (c.codes == DType::u4) {
    const int64_t blocks = codes::tiles_of(c.n) * codes::steps_of(c.k);
    codes::
        arrange_for_row_kernel<<<static_cast<unsigned>((blocks * 64 + 255) / 256), 256, 0, workspace.context.stream>>>(
            weight.as<uint8_t>(), blocks);
  }
  Host x(c.normed ? DType::f32 : DType::bf16, c.k), factors(DType::f32, c.k), before(DType::f32, c.n);
  x.fill_normal(random), factors.fill_uniform(random, 0.5, 1.5), before.fill_normal(random);
  if (c.wild) {
    for (int64_t i = 0; i < c.k; ++i) x.set(i, std::ldexp(x.get(i), static_cast<int>(random.below(24)) - 12));
  }
  const Buffer dx(x), dfactors(factors), out(before);
  LinearParams p = {};
  p.m = 1, p.n = c.n, p.k = c.k, p.x = dx.data, p.x_stride = c.k, p.weight = weight.data, p.out = out.data;
  p.out_stride = c.n, p.x_dtype = DType::bf16, p.weight_dtype = c.codes, p.out_dtype = DType::f32;
  p.alpha = 0.5f, p.accumulate = true;
  const codes::RingNorm norm = {dx.data, dfactors.as<float>(), 1e-5f};
  const bool ran = c.normed ? codes::run_row_ring<bf16, float>(p, norm, {c.kilobytes}, workspace.context)
                            : codes::run_row_ring<bf16, void>(p, {}, {c.kilobytes}, workspace.context);
  LAB_CHECK(cudaStreamSynchronize(workspace.context.stream));
  const Host got = out.download(DType::f32);
  std::vector<double> exact(static_cast<size_t>(c.k));
  double squares = 0;
  for (int64_t i = 0; i < c.k; ++i) {
    squares += x.get(i) * x.get(i);
    exact[static_cast<size_t>(i)] = x.get(i) * (c.normed ? factors.get(i) : 1);
  }
  const double by = c.normed ? 1 / std::sqrt(squares / static_cast<double>(c.k) + 1e-5) : 1;
  const std::vector<double> row = rounded_row(c.codes, exact);
  lab::Errors errors;
  for (int64_t n = 0; n < c.n; ++n) {
    double sum = 0, size = 0;
    for (int64_t k = 0; k < c.k; ++k) {
      const auto at = static_cast<size_t>(n * groups + k / c.group), i = static_cast<size_t>(k);
      // Offsets multiply sums of x as it is.
      const double product =
          by * (static_cast<double>(scales[at]) * row[i] * meaning_of(c.codes, codes.data() + n * row_bytes, k) +
                static_cast<double>(offsets[at]) * exact[i]);
      sum += product, size += std::abs(product);
    }
    errors.add(got.get(n), 0.5 * sum + before.get(n),
               0.5 * size * 2e-5 / std::sqrt(static_cast<double>(c.k)) * 8 + 1e-5, lab::rounding(DType::f32));
  }
  std::printf("%s row ring %s n %ld k %ld group %ld%s%s: worst %.2f, relative %.1e\n",
              errors.bad || !ran ? "FAILED" : "ok", name_of(c.codes), c.n, c.k, c.group, c.normed ? " normed" : "",
              c.wild ? " wild" : "", errors.worst, errors.relative());
  return ran && errors.bad == 0;
}

bool check_rows(lab::LinearWorkspace& workspace) {
  bool good = true;
  for (const DType codes : {DType::u4, DType::i8, DType::e4m3}) {
    const bool four = codes == DType::u4;
    for (const uint32_t kilobytes : {120u, 190u}) {
      good &= check_row({codes, 2128, 4096, four ? 32 : 128, true, false, kilobytes}, workspace);
      good &= check_row({codes, 2405, 8192, four ? 32 : 8192, false, false, kilobytes}, workspace);
      good &= check_row({codes, 5096, 328, four ? 32 : 328, false, true, kilobytes}, workspace);
      good &= check_row({codes, 2405, 5112, four ? 32 : 5112, true, true, kilobytes}, workspace);
    }
  }
  return good;
}

// A layer of 7b at one row in a chain of eight: in_proj with its norm, stand-ins for small kernels, out_proj.
template <DType In, DType Out>
void time_row_layers(lab::Bench& bench, lab::Report& report, lab::LinearWorkspace& workspace) {
  const Model& model = kModels[2];
  const size_t in_bytes = quantized_weight_bytes(model.in_n, model.in_k, In);
  const size_t out_bytes = quantized_weight_bytes(model.out_n, model.out_k, Out);
  const auto layers = static_cast<size_t>(model.layers);
  const Buffer weights(layers * (in_bytes + out_bytes)), x(1 << 20), out(1 << 20), norm(1 << 20);
  const Buffer state(static_cast<size_t>(model.state * 2));
  for (const Buffer* buffer : {&weights, &x, &out, &norm, &state}) {
    lab::fill_random_kernel<<<2112, 256>>>(buffer->as<float>(), static_cast<int64_t>(buffer->bytes / 4), 1);
  }
  LAB_CHECK(cudaDeviceSynchronize());
  const auto time = [&](const char* version, const auto& normed, const auto& plain) {
    const lab::Times us = bench.time([&](cudaStream_t stream) {
      Context context = workspace.on(stream);
      context.early = false;
      const auto move = [&](int64_t moved, int64_t stated) {
        launch(context, {.grid = (std::max(moved, stated) / 8 + 255) / 256, .block = 256}, move_kernel,
               out.as<const uint4>(), out.as<uint4>() + moved / 8, state.as<uint4>(), static_cast<int>(moved / 8),
               static_cast<int>(stated / 8));
      };
      for (size_t i = 0; i < layers; ++i) {
        char* weight = weights.as<char>() + i * (in_bytes + out_bytes);
        RmsNormLinearParams in = {};
        in.x = x.data, in.x_stride = model.in_k, in.norm_weight = norm.as<float>(), in.eps = 1e-5f,
        in.x_dtype = DType::f32;
        LinearParams& p = in.linear;
        p.m = 1, p.n = model.in_n, p.k = model.in_k, p.weight = weight, p.out = out.data, p.out_stride = p.n;
        p.x_dtype = p.out_dtype = DType::bf16, p.weight_dtype = In, p.weight_group = In == DType::u4 ? 32 : p.k;
        normed(in, context);
        move(model.in_n, 0), move(model.out_k, model.state);
        launch(context, {.grid = 1, .block = 256}, row_kernel, out.as<const uint4>(), out.as<uint4>(),
               static_cast<int>(model.out_k / 8));
        LinearParams q = p;
        q.n = model.out_n, q.k = q.x_stride = model.out_k, q.x = out.data, q.weight = weight + in_bytes, q.out = x.data;
        q.out_dtype = DType::f32, q.accumulate = true, q.weight_dtype = Out,
        q.weight_group = Out == DType::u4 ? 32 : q.k;
        plain(q, context);
      }
    });
    const std::string name = std::string("7b x8 layers ") + name_of(In) + ", " + name_of(Out);
    report.line("quantized_linear", name, version, us, static_cast<double>(weights.bytes), {});
  };
  time("ring", run_normed_quantized_ring, run_quantized_ring);
  for (const uint32_t kilobytes : {120u, 160u, 190u}) {
    const codes::RowRing ring = {kilobytes};
    time(("row ring " + std::to_string(kilobytes)).c_str(),
         [&](const RmsNormLinearParams& p, Context& context) {
           codes::run_row_ring<bf16, float>(p.linear, {p.x, p.norm_weight, p.eps}, ring, context);
         },
         [&](const LinearParams& p, Context& context) { codes::run_row_ring<bf16, void>(p, {}, ring, context); });
  }
}

}  // namespace
