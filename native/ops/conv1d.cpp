#include "ops/conv1d.h"

#include <algorithm>

#include "core/check.h"
#include "ops/backend.h"
#include "ops/sequences.h"

namespace mamba {
namespace {

// The tensors that all forms share: weight, bias and the pool, whose slots have `entries` inputs each.
void check_filter(Checker& check, const Tensor& state, const char* entries, const Tensor& weight,
                  const std::optional<Tensor>& bias) {
  check.dense(weight, "weight", {"width", "dim"}, DType::f32);
  const int64_t width = check.size("width");
  if (!(width >= kMinConvWidth && width <= kMaxConvWidth))
    check.refuse("weight has width " + std::to_string(width) + ", expected 2 to 4");
  if (bias) check.dense(*bias, "bias", {"dim"}, DType::f32);
  check.shape(state, "state", {"slots", entries, "dim"}).last_contiguous(state, "state");
  check.dtype(state, "state", kFloatTypes);
}

// The window is the first `width - 1` of a slot's inputs; behind it a slot may have what causal_conv1d_replay needs.
void check_window(Checker& check, const Tensor& state, bool whole) {
  const int64_t width = check.size("width"), window = check.size("window");
  const bool fits = whole ? window == width - 1 : window >= width - 1;
  if (!(fits && (width == 2 || state.stride(1) == state.size(2))))
    check.refuse("state is " + state.shape_text() + ", expected [slots, " + std::to_string(width - 1) +
                 (whole ? "" : " or more") + ", dim] with contiguous windows");
}

}  // namespace

void causal_conv1d_update(Stream& stream, Tensor out, Tensor x, Tensor state, Tensor weight, std::optional<Tensor> bias,
                          Tensor slots, bool silu) {
  Checker check("causal_conv1d_update", stream.device());
  check.rows(x, "x", {"rows", "dim"});
  check_filter(check, state, "window", weight, bias);
  check_window(check, state, true);
  check.dense(slots, "slots", {"rows"}, DType::i32);
  check.shape(out, "out", {"rows", "dim"}).same_dtype(out, "out", x, "x").last_contiguous(out, "out");
  if (out.elements() == 0) return;
  backend_of(stream).causal_conv1d_update(stream, {
                                                      .rows = check.size("rows"),
                                                      .dim = check.size("dim"),
                                                      .width = check.size("width"),
                                                      .slots_in_pool = check.size("slots"),
                                                      .x = x.data,
                                                      .x_stride = x.stride(0),
                                                      .state = state.data,
                                                      .state_slot_stride = state.stride(0),
                                                      .weight = weight.as<float>(),
                                                      .bias = bias ? bias->as<float>() : nullptr,
                                                      .slots = slots.as<int32_t>(),
                                                      .out = out.data,
                                                      .out_stride = out.stride(0),
                                                      .silu = silu,
                                                      .x_dtype = x.dtype,
                                                      .state_dtype = state.dtype,
                                                  });
}

void causal_conv1d_replay(Stream& stream, Tensor out, Tensor x, Tensor state, Tensor weight, std::optional<Tensor> bias,
                          Tensor slots, Tensor replay, bool silu) {
  Checker check("causal_conv1d_replay", stream.device());
  check.rows(x, "x", {"tokens", "dim"});
  check_filter(check, state, "entries", weight, bias);
  check.inner_contiguous(state, "state");
  const int64_t tokens_per_row = check_replay(check, replay, slots, "state", check.size("width") - 2);
  check.shape(out, "out", {"tokens", "dim"}).same_dtype(out, "out", x, "x").last_contiguous(out, "out");
  check.apart(out, x, "x", "a row's later tokens read its inputs");
  if (out.elements() == 0) return;
  backend_of(stream).causal_conv1d_replay(stream, {
                                                      .rows = check.size("rows"),
                                                      .tokens_per_row = tokens_per_row,
                                                      .dim = check.size("dim"),
                                                      .width = check.size("width"),
                                                      .entries = check.size("entries"),
                                                      .slots_in_pool = check.size("slots"),
                                                      .x = x.data,
                                                      .x_stride = x.stride(0),
                                                      .state = state.data,
                                                      .state_slot_stride = state.stride(0),
                                                      .weight = weight.as<float>(),
                                                      .bias = bias ? bias->as<float>() : nullptr,
                                                      .slots = slots.as<int32_t>(),
                                                      .replay = reinterpret_cast<const ReplayRow*>(replay.data),
                                                      .out = out.data,
                                                      .out_stride = out.stride(0),
                                                      .silu = silu,
                                                      .x_dtype = x.dtype,
                                                      .state_dtype = state.dtype,
                                                  });
}

void causal_conv1d_varlen(Stream& stream, Tensor out, Tensor x, Tensor state, Tensor weight, std::optional<Tensor> bias,
                          Tensor query_start_loc, Tensor slots, Tensor has_initial_state, Tensor block_seq,
                          Tensor block_offset, int64_t block_size, bool silu, std::optional<Tensor> snapshot_ends,
                          std::optional<Tensor> snapshot_slots) {
  Checker check("causal_conv1d_varlen", stream.device());
  check.rows(x, "x", {"tokens", "dim"});
  check_filter(check, state, "window", weight, bias);
  check_window(check, state, false);
  check_sequences(check, query_start_loc, slots, has_initial_state);
  check.dense(block_seq, "block_seq", {"blocks"}, DType::i32);
  check.dense(block_offset, "block_offset", {"blocks"}, DType::i32);
  if (!(block_size >= check.size("width") - 1))
    check.refuse("block_size is " + std::to_string(block_size) +
                 ", expected at least width - 1 = " + std::to_string(check.size("width") - 1));
  check.shape(out, "out", {"tokens", "dim"}).same_dtype(out, "out", x, "x").last_contiguous(out, "out");
  check.apart(out, x, "x", "a block reads inputs that another one overwrites");
  if (snapshot_ends.has_value() != snapshot_slots.has_value())
    check.refuse("snapshot_ends and snapshot_slots come together or not at all");
  if (snapshot_ends) {
    for (auto [t, name] : {std::pair{&*snapshot_ends, "snapshot_ends"}, {&*snapshot_slots, "snapshot_slots"}}) {
      check.dense(*t, name, {"snapshots"}, DType::i32);
    }
  }
  if (out.elements() == 0 || check.size("blocks") == 0) return;
  backend_of(stream).causal_conv1d_varlen(
      stream, {
                  .tokens = check.size("tokens"),
                  .sequences = check.size("sequences"),
                  .blocks = check.size("blocks"),
                  .dim = check.size("dim"),
                  .width = check.size("width"),
                  .slots_in_pool = check.size("slots"),
                  .block_size = std::min(block_size, std::max(check.size("tokens"), check.size("width"))),
                  .x = x.data,
                  .x_stride = x.stride(0),
                  .state = state.data,
                  .state_slot_stride = state.stride(0),
                  .weight = weight.as<float>(),
                  .bias = bias ? bias->as<float>() : nullptr,
                  .query_start_loc = query_start_loc.as<int32_t>(),
                  .slots = slots.as<int32_t>(),
                  .has_initial_state = has_initial_state.as<int32_t>(),
                  .block_seq = block_seq.as<int32_t>(),
                  .block_offset = block_offset.as<int32_t>(),
                  .out = out.data,
                  .out_stride = out.stride(0),
                  .silu = silu,
                  .snapshots = snapshot_ends ? check.size("snapshots") : 0,
                  .snapshot_ends = snapshot_ends ? snapshot_ends->as<int32_t>() : nullptr,
                  .snapshot_slots = snapshot_slots ? snapshot_slots->as<int32_t>() : nullptr,
                  .x_dtype = x.dtype,
                  .state_dtype = state.dtype,
              });
}

}  // namespace mamba
