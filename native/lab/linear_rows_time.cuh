#pragma once
// Times of linear_rows.cu: cuts alone, in chains of in_proj and out_proj, and in chains with the small kernels of a
// layer.
#include <algorithm>
#include <functional>
#include <string>
#include <vector>

#include "lab/linear_layers.cuh"
#include "lab/linear_rows_check.cuh"

namespace {

struct Shape {
  int64_t n, k;
  DType out;
  bool accumulate;
  double bytes() const { return 2.0 * static_cast<double>(n * k); }
};

struct Timed {
  RowsPlan plan;
  lab::Times us;
};

class Timing {
 public:
  Timing(lab::Bench& bench, lab::Report& report, Workspace& workspace)
      : bench_(bench), report_(report), workspace_(workspace) {
    using bf16 = __nv_bfloat16;
    lab::fill_random_kernel<<<2112, 256>>>(weights_.as<bf16>(), static_cast<int64_t>(weights_.bytes / 2), 1);
    lab::fill_random_kernel<<<2112, 256>>>(x_.as<bf16>(), static_cast<int64_t>(x_.bytes / 2), 2);
    lab::fill_random_kernel<<<2112, 256>>>(out_.as<bf16>(), static_cast<int64_t>(out_.bytes / 2), 3);
    LAB_CHECK(cudaMemset(state_.data, 0, state_.bytes));
    LAB_CHECK(cudaMemset(residual_.data, 0, residual_.bytes));
    LAB_CHECK(cudaDeviceSynchronize());
  }

  void run() {
    std::vector<Model> models(std::begin(kModels), std::end(kModels));
    models.push_back({"370m", 4384, 1024, 1024, 2048, 50288, 24, 32 * 64 * 128});
    models.push_back({"1.3b", 8512, 2048, 2048, 4096, 50288, 24, 64 * 64 * 128});
    for (const Model& model : models) {
      const Shape in = {model.in_n, model.in_k, DType::bf16, false}, out = {model.out_n, model.out_k, DType::f32, true};
      for (const int64_t m : {64, 48, 32, 17}) {
        const std::string rows = " m=" + std::to_string(m);
        const std::vector<Timed> ins = cuts(std::string(model.name) + " in_proj" + rows, in, m);
        const std::vector<Timed> outs = cuts(std::string(model.name) + " out_proj" + rows, out, m);
        chains(model, in, out, ins, outs, m);
      }
    }
  }

 private:
  // The product with the weight at `first` of the weights.
  LinearParams params(const Shape& shape, int64_t m, int64_t first, bool second) const {
    LinearParams p = {};
    p.m = m, p.n = shape.n, p.k = shape.k, p.weight = weights_.as<char>() + first * 2;
    p.x = second ? out_.data : x_.data, p.x_stride = shape.k;
    p.out = second ? residual_.data : out_.data, p.out_stride = shape.n, p.accumulate = shape.accumulate;
    p.x_dtype = p.weight_dtype = DType::bf16, p.out_dtype = shape.out;
    return p;
  }

  static void check(bool launched) {
    if (!launched) throw lab::Failure("a product was not launched");
  }

  lab::Times time_cut(const LinearParams& p, const RowsPlan& plan) {
    return bench_.time([&](cudaStream_t s) {
      Context context = workspace_.on(s);
      check(mamba::cuda::run_linear_rows(p, plan, context));
    });
  }

  // The library, the floor and the cuts whose blocks the device takes at once, the fastest first.
  std::vector<Timed> cuts(const std::string& name, const Shape& shape, int64_t m) {
    const LinearParams p = params(shape, m, 0, shape.accumulate);
    const auto line = [&](const std::string& version, const lab::Times& us) {
      report_.line("linear", name, version, us, shape.bytes(), {});
    };
    line("read only", read_floor(bench_, weights_.data, shape.bytes(), sink_.as<uint32_t>()));
    const auto library = [&](cudaStream_t s) {
      Context context = workspace_.on(s);
      check(context.gemm_plans->run(p, context));
    };
    library(bench_.stream());
    line("library", bench_.time(library));
    std::vector<Timed> timed;
    for (const int tile : mamba::cuda::kRowTiles) {
      for (const auto& [columns, splits] : kCuts) {
        const int64_t blocks = (shape.n + tile * columns - 1) / (tile * columns) * columns * splits;
        if (blocks > 2 * workspace_.context.multiprocessors || blocks < 64) continue;
        const RowsPlan plan = {.tile = tile, .columns = columns, .splits = splits};
        timed.push_back({plan, time_cut(p, plan)});
        line(name_of(plan), timed.back().us);
      }
    }
    std::sort(timed.begin(), timed.end(), [](const Timed& a, const Timed& b) { return a.us.event < b.us.event; });
    return timed;
  }

  using Linear = std::function<void(Context&, int64_t, bool)>;

  void chains(const Model& whole, const Shape& in, const Shape& out, const std::vector<Timed>& ins,
              const std::vector<Timed>& outs, int64_t m) {
    Model model = whole;
    model.layers /= 2;
    const int64_t in_size = (in.n + 31) / 32 * 32 * in.k, out_size = (out.n + 31) / 32 * 32 * out.k;
    const double bytes = static_cast<double>(model.layers) * (in.bytes() + out.bytes());
    const std::string name = std::string(model.name) + " x" + std::to_string(model.layers);
    const std::string pairs = name + " pairs m=" + std::to_string(m), layers = name + " layers m=" + std::to_string(m);
    const auto of_layer = [&](int64_t i, bool second) {
      return params(second ? out : in, m, i * (in_size + out_size) + (second ? in_size : 0), second);
    };
    const auto line = [&](const std::string& chain, const std::string& version, const lab::Times& us) {
      report_.line("linear", chain, version, us, bytes, {});
    };
    const auto time_pairs = [&](const Linear& linear, bool early) {
      return bench_.time([&](cudaStream_t s) {
        Context context = workspace_.on(s);
        for (int64_t i = 0; i < 2 * model.layers; ++i) {
          context.early = context.early && early;
          linear(context, i / 2, i % 2 == 1);
        }
      });
    };
    const auto time_layers = [&](const Linear& linear) {
      return bench_.time([&](cudaStream_t s) {
        Context context = workspace_.on(s);
        run_layers(model, m, x_, out_, state_, context, true, linear);
      });
    };
    const Linear library = [&](Context& context, int64_t i, bool second) {
      check(context.gemm_plans->run(of_layer(i, second), context));
    };
    const auto rows = [&](const RowsPlan& first, const RowsPlan& second) -> Linear {
      return [=](Context& context, int64_t i, bool of_out) {
        check(mamba::cuda::run_linear_rows(of_layer(i, of_out), of_out ? second : first, context));
      };
    };
    const auto both = [](const RowsPlan& a, const RowsPlan& b) { return name_of(a) + ", " + name_of(b); };
    line(pairs, "read only", read_floor(bench_, weights_.data, bytes, sink_.as<uint32_t>()));
    line(pairs, "library", time_pairs(library, true));
    line(layers, "without linear", time_layers([](Context&, int64_t, bool) {}));
    line(layers, "library", time_layers(library));
    if (mamba::cuda::rows_plan(in.n, in.k, workspace_.context)) {
      const Linear op = [&](Context& context, int64_t i, bool second) {
        mamba::cuda::run_linear(of_layer(i, second), context);
      };
      line(pairs, "op", time_pairs(op, true));
      line(layers, "op", time_layers(op));
    }
    if (ins.empty() || outs.empty()) return;
    RowsPlan best_in = ins.front().plan;
    double least = 1e30;
    const auto attempt = [&](const RowsPlan& a, const RowsPlan& b) {
      const lab::Times us = time_layers(rows(a, b));
      line(layers, both(a, b), us);
      if (us.event < least) least = us.event, best_in = a;
    };
    for (const Timed& other : ins) attempt(other.plan, outs.front().plan);
    for (const Timed& other : outs) attempt(best_in, other.plan);
  }

  lab::Bench& bench_;
  lab::Report& report_;
  Workspace& workspace_;
  const Buffer weights_{size_t{2} << 30}, x_{128 * 18560 * 4}, out_{128 * 50288 * 4 * 2}, residual_{128 * 8192 * 4},
      state_{size_t{128} * 128 * 64 * 128 * 2}, sink_{16};
};

void time_all(lab::Bench& bench, lab::Report& report, Workspace& workspace) { Timing(bench, report, workspace).run(); }

}  // namespace
