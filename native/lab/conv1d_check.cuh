#pragma once
// Checks of causal_conv1d.cu: every version against float64 on new inputs, with poisoned outputs, padding and slots
// that must stay as they are.
#include <ctime>
#include <limits>

#include "lab/conv1d_ladder.cuh"
#include "lab/lab.cuh"

namespace {

using lab::Buffer;
using lab::Host;

struct Case {
  int64_t dim, width;
  DType x, state;
  bool silu, bias;
  int64_t extra = 0;                  // x_stride - dim
  std::vector<int64_t> lengths = {};  // varlen
  int64_t rows = 0;                   // update
  int64_t block_size = 64;
};

std::string name_of_case(const Case& k) {
  std::string text = std::string(name_of(k.x)) + "/" + name_of(k.state) + " dim " + std::to_string(k.dim) + " width " +
                     std::to_string(k.width) + (k.silu ? " silu" : "") + (k.bias ? " bias" : "");
  return text + (k.lengths.empty() ? " rows " + std::to_string(k.rows) : " block " + std::to_string(k.block_size));
}

// Slots of `count` sequences, no two the same; every fourth or so is padding when asked for (-1 or beyond the pool).
std::vector<int32_t> make_slots(lab::Random& random, int64_t count, int64_t pool, bool padding) {
  std::vector<int32_t> order(static_cast<size_t>(pool));
  for (size_t i = 0; i < order.size(); ++i) order[i] = static_cast<int32_t>(i);
  for (size_t i = order.size(); i > 1; --i) std::swap(order[i - 1], order[static_cast<size_t>(random.below(i))]);
  order.resize(static_cast<size_t>(count));
  for (auto& slot : order) {
    if (padding && random.below(4) == 0) slot = random.below(2) ? -1 : static_cast<int32_t>(pool + random.below(3));
  }
  return order;
}

// Slots beyond the pool mean padding too.
void forget_far(std::vector<int32_t>& slots, int64_t pool) {
  for (auto& slot : slots) slot = slot < pool ? slot : -1;
}

double silu_of(double x) { return x / (1 + std::exp(-x)); }

struct Verdict {
  int64_t checks = 0, failed = 0;
  double worst = 0;
  void take(const char* what, const std::string& name, const char* version, const lab::Errors& out,
            const lab::Errors& state) {
    ++checks;
    worst = std::max({worst, out.worst, state.worst});
    if (out.bad + state.bad == 0) return;
    ++failed;
    std::printf("FAILED %s %s %s: %ld of out (rel %.2e), %ld of state\n", what, name.c_str(), version,
                static_cast<long>(out.bad), out.relative(), static_cast<long>(state.bad));
  }
};

void check_update(const Case& k, Verdict& verdict) {
  lab::Random random{lab::mix(std::time(nullptr) * 1000 + k.rows + k.dim)};
  const int64_t pool = 2 * k.rows + 3, stride = k.dim + k.extra, slot_stride = (k.width - 1) * k.dim + k.extra;
  Host x(k.x, k.rows * stride), weight(DType::f32, k.width * k.dim), bias(DType::f32, k.dim);
  Host state(k.state, pool * slot_stride);
  x.fill_normal(random), weight.fill_normal(random, 0.5), bias.fill_normal(random), state.fill_normal(random);
  auto slots = make_slots(random, k.rows, pool, true);
  const Buffer dx(x), dweight(weight), dbias(bias), dslots(slots);
  forget_far(slots, pool);
  Buffer dstate(state), dout(x.bytes.size());
  Update p = {k.rows,
              k.dim,
              k.width,
              pool,
              dx.data,
              stride,
              dstate.data,
              slot_stride,
              dweight.as<float>(),
              k.bias ? dbias.as<float>() : nullptr,
              dslots.as<int32_t>(),
              dout.data,
              stride,
              k.silu,
              k.x,
              k.state};
  const bool special =
      k.x == DType::bf16 && k.state == DType::bf16 && k.width == 4 && k.dim % 8 == 0 && k.extra % 8 == 0;
  for (const auto& version : kUpdates) {
    if (!version.any && !special) continue;
    for (const bool in_place : {false, true}) {
      if (in_place && !version.any) continue;
      dstate.upload(state);
      dout.poison();
      if (in_place) dout.upload(x);
      p.x = in_place ? dout.data : dx.data;
      version.launch(p, nullptr);
      LAB_CHECK(cudaGetLastError());
      LAB_CHECK(cudaDeviceSynchronize());
      const Host out = dout.download(k.x), after = dstate.download(k.state);
      lab::Errors out_errors, state_errors;
      std::vector<int64_t> row_of(static_cast<size_t>(pool), -1);
      for (int64_t r = 0; r < k.rows; ++r) {
        const int64_t slot = slots[static_cast<size_t>(r)];
        if (slot >= 0) row_of[static_cast<size_t>(slot)] = r;
        for (int64_t c = 0; c < k.dim; ++c) {
          double y = k.bias ? bias.get(c) : 0;
          for (int64_t j = 0; j < k.width; ++j) {
            const double input = j == k.width - 1 ? x.get(r * stride + c)
                                 : slot >= 0      ? state.get(slot * slot_stride + j * k.dim + c)
                                                  : 0;
            y += weight.get(j * k.dim + c) * input;
          }
          if (k.silu) y = silu_of(y);
          if (slot < 0) y = 0;
          out_errors.add(out.get(r * stride + c), y, slot < 0 ? 1e-300 : 3e-6, lab::rounding(k.x));
        }
      }
      for (int64_t slot = 0; slot < pool; ++slot) {
        const int64_t r = row_of[static_cast<size_t>(slot)];
        for (int64_t i = 0; i < slot_stride; ++i) {
          const bool window = r >= 0 && i < (k.width - 1) * k.dim;
          double expected = state.get(slot * slot_stride + i), relative = 1e-300;
          if (window && i >= (k.width - 2) * k.dim) {
            expected = x.get(r * stride + i - (k.width - 2) * k.dim);
            relative = k.x == k.state ? 1e-300 : lab::rounding(k.state);
          } else if (window) {
            expected = state.get(slot * slot_stride + i + k.dim);
          }
          state_errors.add(after.get(slot * slot_stride + i), expected, 1e-300 + (relative > 1e-299 ? 1e-7 : 0),
                           relative);
        }
      }
      verdict.take("update", name_of_case(k), version.name, out_errors, state_errors);
    }
  }
}

struct Blocks {
  std::vector<int32_t> start, sequence, offset;
  Blocks(const std::vector<int64_t>& lengths, int64_t block_size) {
    int64_t total = 0;
    for (size_t s = 0; s < lengths.size(); ++s) {
      start.push_back(static_cast<int32_t>(total));
      for (int64_t b = 0; b * block_size < lengths[s]; ++b) {
        sequence.push_back(static_cast<int32_t>(s));
        offset.push_back(static_cast<int32_t>(b));
      }
      total += lengths[s];
    }
    start.push_back(static_cast<int32_t>(total));
  }
  int64_t tokens() const { return start.back(); }
};

void check_varlen(const Case& k, Verdict& verdict) {
  const int64_t sequences = static_cast<int64_t>(k.lengths.size());
  lab::Random random{lab::mix(std::time(nullptr) * 1000 + sequences + k.dim + k.width)};
  const Blocks blocks(k.lengths, k.block_size);
  const int64_t pool = 2 * sequences + 3, stride = k.dim + k.extra, tokens = blocks.tokens();
  const int64_t slot_stride = (k.width - 1) * k.dim + k.extra;
  Host x(k.x, tokens * stride), weight(DType::f32, k.width * k.dim), bias(DType::f32, k.dim);
  Host state(k.state, pool * slot_stride);
  x.fill_normal(random), weight.fill_normal(random, 0.5), bias.fill_normal(random), state.fill_normal(random);
  auto slots = make_slots(random, sequences, pool, true);
  const Buffer dslots(slots);
  forget_far(slots, pool);
  std::vector<int32_t> initial;
  for (int64_t s = 0; s < sequences; ++s) initial.push_back(random.below(2) ? 1 : 0);
  // A slot that is not an initial state may hold anything.
  for (int64_t s = 0; s < sequences; ++s) {
    const int64_t slot = slots[static_cast<size_t>(s)];
    if (slot < 0 || initial[static_cast<size_t>(s)] || k.lengths[static_cast<size_t>(s)] == 0) continue;
    for (int64_t i = 0; i < (k.width - 1) * k.dim; ++i) state.set(slot * slot_stride + i, NAN);
  }
  const Buffer dx(x), dweight(weight), dbias(bias), dinitial(initial), dstart(blocks.start), dsequence(blocks.sequence),
      doffset(blocks.offset);
  Buffer dstate(state), dout(x.bytes.size());
  const Varlen p = {tokens,
                    sequences,
                    static_cast<int64_t>(blocks.sequence.size()),
                    k.dim,
                    k.width,
                    pool,
                    k.block_size,
                    dx.data,
                    stride,
                    dstate.data,
                    slot_stride,
                    dweight.as<float>(),
                    k.bias ? dbias.as<float>() : nullptr,
                    dstart.as<int32_t>(),
                    dslots.as<int32_t>(),
                    dinitial.as<int32_t>(),
                    dsequence.as<int32_t>(),
                    doffset.as<int32_t>(),
                    dout.data,
                    stride,
                    k.silu,
                    0,
                    nullptr,
                    nullptr,
                    k.x,
                    k.state};
  const bool special =
      k.x == DType::bf16 && k.state == DType::bf16 && k.width == 4 && k.dim % 8 == 0 && k.extra % 8 == 0;
  const auto input = [&](int64_t s, int64_t position, int64_t c) -> double {
    if (position >= 0) return x.get((blocks.start[static_cast<size_t>(s)] + position) * stride + c);
    if (!initial[static_cast<size_t>(s)]) return 0;
    return state.get(slots[static_cast<size_t>(s)] * slot_stride + (position + k.width - 1) * k.dim + c);
  };
  for (const auto& version : kVarlens) {
    if (!version.any && !special) continue;
    dstate.upload(state);
    dout.poison();
    version.launch(p, nullptr);
    LAB_CHECK(cudaGetLastError());
    LAB_CHECK(cudaDeviceSynchronize());
    const Host out = dout.download(k.x), after = dstate.download(k.state);
    lab::Errors out_errors, state_errors;
    std::vector<int64_t> sequence_of(static_cast<size_t>(pool), -1);
    for (int64_t s = 0; s < sequences; ++s) {
      const int64_t length = k.lengths[static_cast<size_t>(s)];
      const bool padding = slots[static_cast<size_t>(s)] < 0;
      if (!padding && length) sequence_of[static_cast<size_t>(slots[static_cast<size_t>(s)])] = s;
      for (int64_t t = 0; t < length; ++t) {
        for (int64_t c = 0; c < k.dim; ++c) {
          double y = k.bias ? bias.get(c) : 0;
          for (int64_t j = 0; j < k.width && !padding; ++j) {
            y += weight.get(j * k.dim + c) * input(s, t - (k.width - 1) + j, c);
          }
          if (k.silu) y = silu_of(y);
          if (padding) y = 0;
          out_errors.add(out.get((blocks.start[static_cast<size_t>(s)] + t) * stride + c), y, padding ? 1e-300 : 3e-6,
                         lab::rounding(k.x));
        }
      }
    }
    for (int64_t slot = 0; slot < pool; ++slot) {
      const int64_t s = sequence_of[static_cast<size_t>(slot)];
      for (int64_t i = 0; i < slot_stride; ++i) {
        double expected = state.get(slot * slot_stride + i), relative = 1e-300;
        if (s >= 0 && i < (k.width - 1) * k.dim) {
          const int64_t position = k.lengths[static_cast<size_t>(s)] - (k.width - 1) + i / k.dim;
          expected = input(s, position, i % k.dim);
          if (k.x != k.state && position >= 0) relative = lab::rounding(k.state);
        }
        const double value = after.get(slot * slot_stride + i);
        if (std::isnan(expected) && std::isnan(value)) continue;  // not touched
        state_errors.add(value, expected, 1e-300 + (relative > 1e-299 ? 1e-7 : 0), relative);
      }
    }
    verdict.take("varlen", name_of_case(k), version.name, out_errors, state_errors);
  }
}

// Slots more than 2^31 elements apart give the same bits as slots side by side.
void check_far(int64_t dim, Verdict& verdict) {
  constexpr int64_t kSlots = 3, kWidth = 4, kFar = (int64_t{1} << 30) + 64;
  lab::Random random{11};
  const std::vector<int64_t> lengths = {1, 9, 2};
  const Blocks blocks(lengths, 8);
  Host x(DType::bf16, blocks.tokens() * dim), weight(DType::f32, kWidth * dim), window(DType::bf16, 3 * dim);
  x.fill_normal(random), weight.fill_normal(random, 0.5), window.fill_normal(random);
  const Buffer dx(x), dweight(weight), slots(std::vector<int32_t>{2, 0, 1}), initial(std::vector<int32_t>{1, 1, 1}),
      start(blocks.start), sequence(blocks.sequence), offset(blocks.offset);
  Buffer state(static_cast<size_t>((kSlots - 1) * kFar + 3 * dim) * 2), out(x.bytes.size());
  for (const bool varlen : {false, true}) {
    std::vector<std::vector<uint8_t>> results[2];
    for (const bool far : {false, true}) {
      const int64_t stride = far ? kFar : 3 * dim;
      for (int64_t slot = 0; slot < kSlots; ++slot) {
        LAB_CHECK(cudaMemcpy(state.as<uint8_t>() + slot * stride * 2, window.bytes.data(), window.bytes.size(),
                             cudaMemcpyHostToDevice));
      }
      out.poison();
      Context context = context_of(nullptr);
      if (varlen) {
        Varlen p = {};
        p.tokens = blocks.tokens(), p.sequences = kSlots, p.blocks = static_cast<int64_t>(blocks.sequence.size());
        p.dim = dim, p.width = kWidth, p.slots_in_pool = kSlots, p.block_size = 8, p.x = dx.data, p.x_stride = dim;
        p.state = state.data, p.state_slot_stride = stride, p.weight = dweight.as<float>();
        p.query_start_loc = start.as<int32_t>(), p.slots = slots.as<int32_t>();
        p.has_initial_state = initial.as<int32_t>(), p.block_seq = sequence.as<int32_t>();
        p.block_offset = offset.as<int32_t>(), p.out = out.data, p.out_stride = dim, p.silu = true;
        p.x_dtype = p.state_dtype = DType::bf16;
        run_causal_conv1d_varlen(p, context);
      } else {
        const Update p = {kSlots,
                          dim,
                          kWidth,
                          kSlots,
                          dx.data,
                          dim,
                          state.data,
                          stride,
                          dweight.as<float>(),
                          nullptr,
                          slots.as<int32_t>(),
                          out.data,
                          dim,
                          true,
                          DType::bf16,
                          DType::bf16};
        run_causal_conv1d_update(p, context);
      }
      LAB_CHECK(cudaDeviceSynchronize());
      results[far].push_back(out.download(DType::bf16).bytes);
      for (int64_t slot = 0; slot < kSlots; ++slot) {
        std::vector<uint8_t> bytes(window.bytes.size());
        LAB_CHECK(
            cudaMemcpy(bytes.data(), state.as<uint8_t>() + slot * stride * 2, bytes.size(), cudaMemcpyDeviceToHost));
        results[far].push_back(bytes);
      }
    }
    ++verdict.checks;
    if (results[0] == results[1]) continue;
    ++verdict.failed;
    std::printf("FAILED %s with slots far apart, dim %ld\n", varlen ? "varlen" : "update", static_cast<long>(dim));
  }
}

bool check_all(bool quick) {
  Verdict verdict;
  const DType types[] = {DType::f32, DType::bf16, DType::f16};
  const std::vector<int64_t> lengths = {0, 1, 2, 3, 4, 5, 63, 64, 65, 0, 1, 2, 3, 4, 5, 7, 8, 9, 130, 1, 1, 2, 3, 200};
  for (const DType x : types) {
    for (const DType state : types) {
      check_update({264, 4, x, state, true, true, 0, {}, 13}, verdict);
      check_update({72, 3, x, state, false, false, 8, {}, 5}, verdict);
      check_update({37, 2, x, state, true, false, 3, {}, 5}, verdict);
      check_varlen({136, 4, x, state, true, true, 0, lengths, 0, 64}, verdict);
      check_varlen({72, 3, x, state, false, false, 8, lengths, 0, 16}, verdict);
      check_varlen({37, 2, x, state, true, false, 3, lengths, 0, 5}, verdict);
    }
  }
  check_update({10240, 4, DType::bf16, DType::bf16, true, true, 8256, {}, 9}, verdict);
  check_update({1792, 4, DType::bf16, DType::bf16, true, true, 0, {}, 70}, verdict);
  check_update({264, 4, DType::bf16, DType::bf16, true, true, 0, {}, 700}, verdict);
  for (const int64_t block : {3, 8, 32, 128}) {
    check_varlen({264, 4, DType::bf16, DType::bf16, true, true, 16, lengths, 0, block}, verdict);
  }
  check_varlen({10240, 4, DType::bf16, DType::bf16, true, true, 8256, {5, 64, 1}, 0, 32}, verdict);
  check_varlen({2060, 4, DType::bf16, DType::bf16, true, true, 4, {700, 1, 1, 1, 0, 1, 1, 40, 500}, 0, 24}, verdict);
  std::vector<int64_t> many(300), singles(2100, 1);
  for (int64_t i = 0; i < 300; ++i) many[static_cast<size_t>(i)] = i * 61 % 199;
  singles[1000] = 0, singles.back() = 0;
  check_varlen({8, 4, DType::bf16, DType::bf16, true, true, 0, many, 0, 24}, verdict);
  check_varlen({8, 4, DType::bf16, DType::bf16, true, true, 0, singles, 0, 24}, verdict);
  check_varlen({520, 4, DType::bf16, DType::bf16, true, true, 0, {6000}, 0, 24}, verdict);
  check_varlen({520, 4, DType::f32, DType::f32, true, true, 0, {3000, 1, 3000}, 0, 24}, verdict);
  if (!quick) check_far(64, verdict), check_far(63, verdict);
  std::printf("conv: %ld checks, %ld failed, worst %.3f of the allowed distance\n", static_cast<long>(verdict.checks),
              static_cast<long>(verdict.failed), verdict.worst);
  return verdict.failed == 0;
}

}  // namespace
