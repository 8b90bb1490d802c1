#include "ops/gdn.h"

#include "core/check.h"
#include "ops/backend.h"
#include "ops/sequences.h"

namespace mamba {
namespace {

// What all three ops have; only the first dimension of the tensors of tokens may be strided.
void check_operands(Checker& check, const Tensor& out, const Tensor& q, const Tensor& k, const Tensor& v,
                    const Tensor& a, const Tensor& b, const Tensor& decay, const Tensor& dt_bias, const Tensor& state) {
  check.shape(q, "q", {"tokens", "key_heads", "key_dim"}).dtype(q, "q", kFloatTypes).inner_contiguous(q, "q");
  check.shape(k, "k", {"tokens", "key_heads", "key_dim"}).same_dtype(k, "k", q, "q").inner_contiguous(k, "k");
  check.shape(v, "v", {"tokens", "value_heads", "value_dim"}).same_dtype(v, "v", q, "q").inner_contiguous(v, "v");
  check.rows(a, "a", {"tokens", "value_heads"}, {DType::f32, q.dtype});
  check.shape(b, "b", {"tokens", "value_heads"}).same_dtype(b, "b", a, "a").last_contiguous(b, "b");
  check.dense(decay, "decay", {"value_heads"}, DType::f32);
  check.dense(dt_bias, "dt_bias", {"value_heads"}, DType::f32);
  check.shape(state, "state", {"slots", "value_heads", "value_dim", "key_dim"}).dtype(state, "state", kFloatTypes);
  check.inner_contiguous(state, "state");
  check.shape(out, "out", {"tokens", "value_heads", "value_dim"}).same_dtype(out, "out", q, "q");
  check.inner_contiguous(out, "out");
  if (!(check.size("key_heads") > 0 && check.size("value_heads") % check.size("key_heads") == 0))
    check.refuse("key_heads = " + std::to_string(check.size("key_heads")) +
                 " does not divide value_heads = " + std::to_string(check.size("value_heads")));
}

void check_eps(Checker& check, double eps) {
  if (!(eps > 0))
    check.refuse("eps is " + std::to_string(eps) + ", expected above 0: a key of zeros is divided by its root");
}

GdnUpdateParams update_params(const Checker& check, int64_t tokens_per_row, const Tensor& out, const Tensor& q,
                              const Tensor& k, const Tensor& v, const Tensor& a, const Tensor& b, const Tensor& decay,
                              const Tensor& dt_bias, const Tensor& state, const Tensor& slots, double eps,
                              double scale) {
  return {
      .rows = check.size("rows"),
      .tokens_per_row = tokens_per_row,
      .key_heads = check.size("key_heads"),
      .value_heads = check.size("value_heads"),
      .key_dim = check.size("key_dim"),
      .value_dim = check.size("value_dim"),
      .slots_in_pool = check.size("slots"),
      .q = q.data,
      .k = k.data,
      .v = v.data,
      .a = a.data,
      .b = b.data,
      .q_stride = q.stride(0),
      .k_stride = k.stride(0),
      .v_stride = v.stride(0),
      .a_stride = a.stride(0),
      .b_stride = b.stride(0),
      .decay = decay.as<float>(),
      .dt_bias = dt_bias.as<float>(),
      .state = state.data,
      .state_slot_stride = state.stride(0),
      .slots = slots.as<int32_t>(),
      .out = out.data,
      .out_stride = out.stride(0),
      .eps = static_cast<float>(eps),
      .scale = static_cast<float>(scale),
      .dtype = q.dtype,
      .gate_dtype = a.dtype,
      .state_dtype = state.dtype,
  };
}

}  // namespace

void gdn_chunk(Stream& stream, Tensor out, Tensor q, Tensor k, Tensor v, Tensor a, Tensor b, Tensor decay,
               Tensor dt_bias, Tensor state, Tensor query_start_loc, Tensor slots, Tensor has_initial_state,
               Tensor cu_chunk_seqlens, Tensor chunk_seq, Tensor last_chunk, double eps, double scale,
               std::optional<Tensor> chunk_slots) {
  Checker check("gdn_chunk", stream.device());
  check_operands(check, out, q, k, v, a, b, decay, dt_bias, state);
  check_sequences(check, query_start_loc, slots, has_initial_state);
  check_chunks(check, cu_chunk_seqlens, chunk_seq, last_chunk, chunk_slots);
  check_eps(check, eps);
  if (out.elements() == 0 || check.size("chunks") == 0) return;
  backend_of(stream).gdn_chunk(stream, {
                                           .tokens = check.size("tokens"),
                                           .sequences = check.size("sequences"),
                                           .chunks = check.size("chunks"),
                                           .key_heads = check.size("key_heads"),
                                           .value_heads = check.size("value_heads"),
                                           .key_dim = check.size("key_dim"),
                                           .value_dim = check.size("value_dim"),
                                           .slots_in_pool = check.size("slots"),
                                           .q = q.data,
                                           .k = k.data,
                                           .v = v.data,
                                           .a = a.data,
                                           .b = b.data,
                                           .q_stride = q.stride(0),
                                           .k_stride = k.stride(0),
                                           .v_stride = v.stride(0),
                                           .a_stride = a.stride(0),
                                           .b_stride = b.stride(0),
                                           .decay = decay.as<float>(),
                                           .dt_bias = dt_bias.as<float>(),
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
                                           .eps = static_cast<float>(eps),
                                           .scale = static_cast<float>(scale),
                                           .dtype = q.dtype,
                                           .gate_dtype = a.dtype,
                                           .state_dtype = state.dtype,
                                       });
}

void gdn_update(Stream& stream, Tensor out, Tensor q, Tensor k, Tensor v, Tensor a, Tensor b, Tensor decay,
                Tensor dt_bias, Tensor state, Tensor slots, double eps, double scale) {
  Checker check("gdn_update", stream.device());
  check_operands(check, out, q, k, v, a, b, decay, dt_bias, state);
  check.dense(slots, "slots", {"rows"}, DType::i32);
  check_eps(check, eps);
  const int64_t of_row = tokens_per_row(check, slots);
  if (out.elements() == 0) return;
  backend_of(stream).gdn_update(
      stream, update_params(check, of_row, out, q, k, v, a, b, decay, dt_bias, state, slots, eps, scale));
}

void gdn_replay(Stream& stream, Tensor out, Tensor q, Tensor k, Tensor v, Tensor a, Tensor b, Tensor decay,
                Tensor dt_bias, Tensor state, Tensor history, Tensor slots, Tensor replay, double eps, double scale) {
  Checker check("gdn_replay", stream.device());
  check_operands(check, out, q, k, v, a, b, decay, dt_bias, state);
  check.same_dtype(a, "a", q, "q");
  check_eps(check, eps);
  const int64_t key_heads = check.size("key_heads"), key_dim = check.size("key_dim");
  const int64_t value_heads = check.size("value_heads"), value_dim = check.size("value_dim");
  const int64_t width = key_heads * key_dim + value_heads * (value_dim + 2);
  check_history(check, history, q, width);
  const int64_t of_row = check_replay(check, replay, slots, "history", 0);
  if (out.elements() == 0) return;
  GdnReplayParams params{};
  static_cast<GdnUpdateParams&>(params) =
      update_params(check, of_row, out, q, k, v, a, b, decay, dt_bias, state, slots, eps, scale);
  params.history = {history.data, history.stride(0), check.size("entries"), history.size(2)};
  params.replay = reinterpret_cast<const ReplayRow*>(replay.data);
  backend_of(stream).gdn_replay(stream, params);
}

}  // namespace mamba
