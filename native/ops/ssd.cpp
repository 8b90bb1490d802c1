#include "ops/ssd.h"

#include "core/check.h"
#include "ops/backend.h"
#include "ops/sequences.h"

namespace mamba {
namespace {

void check_pool(Checker& check, const Tensor& state) {
  check.shape(state, "state", {"slots", "heads", "head_dim", "state_size"});
  check.dtype(state, "state", kFloatTypes).inner_contiguous(state, "state");
}

void check_limits(Checker& check, double dt_min, double dt_max) {
  if (!(dt_min >= 0 && dt_min <= dt_max))
    check.refuse("dt limits are [" + std::to_string(dt_min) + ", " + std::to_string(dt_max) +
                 "], expected 0 <= min <= max");
}

void check_groups(Checker& check) {
  if (!(check.size("groups") > 0 && check.size("heads") % check.size("groups") == 0))
    check.refuse("groups = " + std::to_string(check.size("groups")) +
                 " does not divide heads = " + std::to_string(check.size("heads")));
}

// Strides over (heads, head_dim) of a parameter given per head or per head and channel.
struct HeadStrides {
  int64_t head, channel;
};

HeadStrides check_per_head(Checker& check, const Tensor& t, const char* name, int leading) {
  const bool per_channel = t.rank == leading + 2;
  if (leading == 0) {
    per_channel ? check.shape(t, name, {"heads", "head_dim"}) : check.shape(t, name, {"heads"});
  } else {
    per_channel ? check.shape(t, name, {"rows", "heads", "head_dim"}) : check.shape(t, name, {"rows", "heads"});
  }
  return {t.stride(leading), per_channel ? t.stride(leading + 1) : 0};
}

}  // namespace

void ssd_chunk_scan(Stream& stream, Tensor out, Tensor x, Tensor dt, Tensor a, Tensor b, Tensor c,
                    std::optional<Tensor> d, std::optional<Tensor> dt_bias, Tensor state, Tensor query_start_loc,
                    Tensor slots, Tensor has_initial_state, Tensor cu_chunk_seqlens, Tensor chunk_seq,
                    Tensor last_chunk, double dt_min, double dt_max, bool dt_softplus,
                    std::optional<Tensor> chunk_slots) {
  Checker check("ssd_chunk_scan", stream.device());
  check.shape(x, "x", {"tokens", "heads", "head_dim"}).dtype(x, "x", kFloatTypes);
  check.inner_contiguous(x, "x");
  check.rows(dt, "dt", {"tokens", "heads"}, {DType::f32, x.dtype});
  check.dense(a, "a", {"heads"}, DType::f32);
  check.shape(b, "b", {"tokens", "groups", "state_size"}).same_dtype(b, "b", x, "x");
  check.inner_contiguous(b, "b");
  check.shape(c, "c", {"tokens", "groups", "state_size"}).same_dtype(c, "c", x, "x");
  check.inner_contiguous(c, "c");
  check_groups(check);
  if (d) check.dense(*d, "d", {"heads"}, DType::f32);
  if (dt_bias) check.dense(*dt_bias, "dt_bias", {"heads"}, DType::f32);
  check_pool(check, state);
  check_sequences(check, query_start_loc, slots, has_initial_state);
  check_chunks(check, cu_chunk_seqlens, chunk_seq, last_chunk, chunk_slots);
  check.shape(out, "out", {"tokens", "heads", "head_dim"}).same_dtype(out, "out", x, "x");
  check.inner_contiguous(out, "out");
  check_limits(check, dt_min, dt_max);
  if (out.elements() == 0 || check.size("chunks") == 0) return;
  backend_of(stream).ssd_chunk_scan(stream, {
                                                .tokens = check.size("tokens"),
                                                .sequences = check.size("sequences"),
                                                .chunks = check.size("chunks"),
                                                .heads = check.size("heads"),
                                                .head_dim = check.size("head_dim"),
                                                .groups = check.size("groups"),
                                                .state_size = check.size("state_size"),
                                                .slots_in_pool = check.size("slots"),
                                                .x = x.data,
                                                .dt = dt.data,
                                                .b = b.data,
                                                .c = c.data,
                                                .x_stride = x.stride(0),
                                                .dt_stride = dt.stride(0),
                                                .b_stride = b.stride(0),
                                                .c_stride = c.stride(0),
                                                .a = a.as<float>(),
                                                .d = d ? d->as<float>() : nullptr,
                                                .dt_bias = dt_bias ? dt_bias->as<float>() : nullptr,
                                                .state = state.data,
                                                .state_slot_stride = state.stride(0),
                                                .query_start_loc = query_start_loc.as<int32_t>(),
                                                .slots = slots.as<int32_t>(),
                                                .has_initial_state = has_initial_state.as<int32_t>(),
                                                .cu_chunk_seqlens = cu_chunk_seqlens.as<int32_t>(),
                                                .chunk_seq = chunk_seq.as<int32_t>(),
                                                .last_chunk = last_chunk.as<int32_t>(),
                                                .chunk_slots = chunk_slots ? chunk_slots->as<int32_t>() : nullptr,
                                                .out = out.data,
                                                .out_stride = out.stride(0),
                                                .dt_min = static_cast<float>(dt_min),
                                                .dt_max = static_cast<float>(dt_max),
                                                .dt_softplus = dt_softplus,
                                                .dtype = x.dtype,
                                                .dt_dtype = dt.dtype,
                                                .state_dtype = state.dtype,
                                            });
}

void ssd_state_update(Stream& stream, Tensor out, Tensor x, Tensor dt, Tensor a, Tensor b, Tensor c,
                      std::optional<Tensor> d, std::optional<Tensor> dt_bias, std::optional<Tensor> z, Tensor state,
                      Tensor slots, double dt_min, double dt_max, bool dt_softplus) {
  Checker check("ssd_state_update", stream.device());
  check.shape(x, "x", {"rows", "heads", "head_dim"}).dtype(x, "x", kFloatTypes);
  check.inner_contiguous(x, "x");
  check.dtype(dt, "dt", {DType::f32, x.dtype});
  const HeadStrides dt_strides = check_per_head(check, dt, "dt", 1);
  check.dtype(a, "a", {DType::f32});
  check_pool(check, state);
  const bool full_a = a.rank == 3;
  full_a ? check.shape(a, "a", {"heads", "head_dim", "state_size"}) : check.shape(a, "a", {"heads"});
  check.shape(b, "b", {"rows", "groups", "state_size"}).same_dtype(b, "b", x, "x");
  check.inner_contiguous(b, "b");
  check.shape(c, "c", {"rows", "groups", "state_size"}).same_dtype(c, "c", x, "x");
  check.inner_contiguous(c, "c");
  check_groups(check);
  HeadStrides d_strides{}, bias_strides{};
  if (d) d_strides = check_per_head(check.dtype(*d, "d", {DType::f32}), *d, "d", 0);
  if (dt_bias) bias_strides = check_per_head(check.dtype(*dt_bias, "dt_bias", {DType::f32}), *dt_bias, "dt_bias", 0);
  if (z) {
    check.shape(*z, "z", {"rows", "heads", "head_dim"}).same_dtype(*z, "z", x, "x");
    check.inner_contiguous(*z, "z");
  }
  check.dense(slots, "slots", {"rows"}, DType::i32);
  check.shape(out, "out", {"rows", "heads", "head_dim"}).same_dtype(out, "out", x, "x");
  check.inner_contiguous(out, "out");
  check_limits(check, dt_min, dt_max);
  if (out.elements() == 0) return;
  backend_of(stream).ssd_state_update(stream, {
                                                  .rows = check.size("rows"),
                                                  .heads = check.size("heads"),
                                                  .head_dim = check.size("head_dim"),
                                                  .groups = check.size("groups"),
                                                  .state_size = check.size("state_size"),
                                                  .slots_in_pool = check.size("slots"),
                                                  .x = x.data,
                                                  .dt = dt.data,
                                                  .b = b.data,
                                                  .c = c.data,
                                                  .z = z ? z->data : nullptr,
                                                  .x_stride = x.stride(0),
                                                  .b_stride = b.stride(0),
                                                  .c_stride = c.stride(0),
                                                  .z_stride = z ? z->stride(0) : 0,
                                                  .dt_row_stride = dt.stride(0),
                                                  .dt_head_stride = dt_strides.head,
                                                  .dt_channel_stride = dt_strides.channel,
                                                  .a = a.as<float>(),
                                                  .d = d ? d->as<float>() : nullptr,
                                                  .dt_bias = dt_bias ? dt_bias->as<float>() : nullptr,
                                                  .a_head_stride = a.stride(0),
                                                  .a_channel_stride = full_a ? a.stride(1) : 0,
                                                  .a_state_stride = full_a ? a.stride(2) : 0,
                                                  .d_head_stride = d_strides.head,
                                                  .d_channel_stride = d_strides.channel,
                                                  .dt_bias_head_stride = bias_strides.head,
                                                  .dt_bias_channel_stride = bias_strides.channel,
                                                  .state = state.data,
                                                  .state_slot_stride = state.stride(0),
                                                  .slots = slots.as<int32_t>(),
                                                  .out = out.data,
                                                  .out_stride = out.stride(0),
                                                  .dt_min = static_cast<float>(dt_min),
                                                  .dt_max = static_cast<float>(dt_max),
                                                  .dt_softplus = dt_softplus,
                                                  .dtype = x.dtype,
                                                  .dt_dtype = dt.dtype,
                                                  .state_dtype = state.dtype,
                                              });
}

void ssd_replay(Stream& stream, Tensor out, Tensor x, Tensor dt, Tensor a, Tensor b, Tensor c, std::optional<Tensor> d,
                std::optional<Tensor> dt_bias, std::optional<Tensor> z, Tensor state, Tensor history, Tensor slots,
                Tensor replay, double dt_min, double dt_max, bool dt_softplus) {
  Checker check("ssd_replay", stream.device());
  check.shape(x, "x", {"tokens", "heads", "head_dim"}).dtype(x, "x", kFloatTypes).inner_contiguous(x, "x");
  check.shape(dt, "dt", {"tokens", "heads"}).same_dtype(dt, "dt", x, "x").last_contiguous(dt, "dt");
  check.dense(a, "a", {"heads"}, DType::f32);
  check.shape(b, "b", {"tokens", "groups", "state_size"}).same_dtype(b, "b", x, "x").inner_contiguous(b, "b");
  check.shape(c, "c", {"tokens", "groups", "state_size"}).same_dtype(c, "c", x, "x").inner_contiguous(c, "c");
  check_groups(check);
  if (d) check.dense(*d, "d", {"heads"}, DType::f32);
  if (dt_bias) {
    check.dense(*dt_bias, "dt_bias", {"heads"}, DType::f32);
  }
  if (z) {
    check.shape(*z, "z", {"tokens", "heads", "head_dim"}).same_dtype(*z, "z", x, "x").inner_contiguous(*z, "z");
  }
  check_pool(check, state);
  const int64_t heads = check.size("heads"), head_dim = check.size("head_dim"), groups = check.size("groups");
  const int64_t width = heads * head_dim + groups * check.size("state_size") + heads;
  check_history(check, history, x, width);
  const int64_t tokens_per_row = check_replay(check, replay, slots, "history", 0);
  check.shape(out, "out", {"tokens", "heads", "head_dim"}).same_dtype(out, "out", x, "x").inner_contiguous(out, "out");
  check_limits(check, dt_min, dt_max);
  if (out.elements() == 0) return;
  SsdReplayParams params{};
  static_cast<SsdStateUpdateParams&>(params) = {
      .rows = check.size("rows"),
      .heads = heads,
      .head_dim = head_dim,
      .groups = groups,
      .state_size = check.size("state_size"),
      .slots_in_pool = check.size("slots"),
      .x = x.data,
      .dt = dt.data,
      .b = b.data,
      .c = c.data,
      .z = z ? z->data : nullptr,
      .x_stride = x.stride(0),
      .b_stride = b.stride(0),
      .c_stride = c.stride(0),
      .z_stride = z ? z->stride(0) : 0,
      .dt_row_stride = dt.stride(0),
      .dt_head_stride = 1,
      .dt_channel_stride = 0,
      .a = a.as<float>(),
      .d = d ? d->as<float>() : nullptr,
      .dt_bias = dt_bias ? dt_bias->as<float>() : nullptr,
      .a_head_stride = 1,
      .a_channel_stride = 0,
      .a_state_stride = 0,
      .d_head_stride = 1,
      .d_channel_stride = 0,
      .dt_bias_head_stride = 1,
      .dt_bias_channel_stride = 0,
      .state = state.data,
      .state_slot_stride = state.stride(0),
      .slots = slots.as<int32_t>(),
      .out = out.data,
      .out_stride = out.stride(0),
      .dt_min = static_cast<float>(dt_min),
      .dt_max = static_cast<float>(dt_max),
      .dt_softplus = dt_softplus,
      .dtype = x.dtype,
      .dt_dtype = dt.dtype,
      .state_dtype = state.dtype,
  };
  params.tokens_per_row = tokens_per_row;
  params.history = {history.data, history.stride(0), check.size("entries"), history.size(2)};
  params.replay = reinterpret_cast<const ReplayRow*>(replay.data);
  backend_of(stream).ssd_replay(stream, params);
}

}  // namespace mamba
