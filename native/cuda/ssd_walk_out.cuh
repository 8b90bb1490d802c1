#pragma once
// The fused walk's output warpgroups (see ssd_walk.cuh): C B^T, C S^T and M x of every second step, and the rows of
// out.
#include "cuda/ssd_walk_stage.cuh"

namespace mamba::cuda::scan {

// The part of M (with D on its diagonal) that warp kWarp has, as left operands: 16 tokens l, g and g + 8 in a thread.
template <class T, int kWarp>
__device__ __forceinline__ void mix(uint32_t (&m)[4][4], const float (&cb)[32], const Step& step, const float (&row)[2],
                                    const float (&a)[2], const float2 (&source)[2], float d, int g, int t) {
  float2 factor[2 * kWarp + 1];
#pragma unroll
  for (int i = 0; i < 2 * kWarp; ++i) {
    factor[i] = *reinterpret_cast<const float2*>(step.column[kWarp > 0 ? kWarp - 1 : 0] + 8 * i + 2 * t);
  }
#pragma unroll
  for (int i = 0; i < 8; ++i) {  // 8 columns
    const float* v = cb + 4 * i;
    uint32_t* r = m[i / 2] + i % 2 * 2;
    if (i < 2 * kWarp) {
      r[0] = pack_operands<T>(v[0] * (row[0] * factor[i].x), v[1] * (row[0] * factor[i].y));
      r[1] = pack_operands<T>(v[2] * (row[1] * factor[i].x), v[3] * (row[1] * factor[i].y));
    } else if (i < 2 * kWarp + 2) {
      const float2 from = source[i % 2];
      const float weight[4] = {fast_exp2(a[0] - from.x), fast_exp2(a[0] - from.y), fast_exp2(a[1] - from.x),
                               fast_exp2(a[1] - from.y)};
      float w[4];
#pragma unroll
      for (int j = 0; j < 4; ++j) {
        const int after = g + j / 2 * 8 - (i % 2 * 8 + 2 * t + j % 2);
        w[j] = after < 0 ? 0.0f : fmaf(v[j], weight[j], after == 0 ? d : 0.0f);
      }
      r[0] = pack_operands<T>(w[0], w[1]);
      r[1] = pack_operands<T>(w[2], w[3]);
    } else {
      r[0] = r[1] = 0;
    }
  }
}

// Every second step. Warp w has tokens 16 w .. 16 w + 15, a thread of it tokens g and g + 8 of those, columns (tokens
// of M, channels of y) 8 j + 2 t and + 1.
template <class T, int kN>
__device__ __forceinline__ void write_out(const SsdChunkScanParams& p, const ScanMaps& maps, int turn,
                                          Shared<kN>& shared) {
  using namespace hopper;
  const int warp = threadIdx.x / 32 % 4, lane = threadIdx.x % 32, g = lane / 4, t = lane % 4;
  const int l = 16 * warp + g;
  const int matrix_row = lane % 16, matrix_piece = lane / 16;  // of ldmatrix and stmatrix
  uint8_t* const out_tile = shared.out[4 * turn + warp];
  const uint32_t out_row = shared_address(out_tile) + 128 * matrix_row;
  const bool never = p.heads < 0;
  float cb[32], y[32];
  // Starts C B^T of a step, also (of whatever lies there) if there is none: ptxas wants products on every path. Returns
  // whether there is one.
  const auto begin_cb = [&](const RingPlace& ring) {
    const auto& stage = shared.stage[ring.index];
    barrier_wait(shared.ready + ring.index, ring.phase);
    const bool valid = shared.step[ring.index].tokens != 0;
    if (valid) barrier_wait(shared.loaded + ring.index, ring.phase);
    const uint64_t c = describe_along_sum(shared_address(stage.c)), b = describe_along_sum(shared_address(stage.b));
    products_begin();
#pragma unroll
    for (int k = 0; k < kN / 16; ++k) {
      const uint32_t at = (k / 4 * kTileBytes + k % 4 * 32) >> 4;
      multiply_64<T>(cb, c + at, b + at, k != 0);
    }
    products_commit();
    return valid;
  };
  int i = turn;
  bool more = begin_cb(Shared<kN>::place(i));
  products_wait<0>();
  pin(cb);
  while (more) {
    const RingPlace ring = Shared<kN>::place(i);
    const auto& stage = shared.stage[ring.index];
    const Step& step = shared.step[ring.index];
    const uint64_t c = describe_along_sum(shared_address(stage.c));
    const uint64_t s = describe_along_sum(shared_address(shared.state[turn]));
    barrier_wait(shared.rounded + turn, i / 2 % 2);
    products_begin();
#pragma unroll
    for (int k = 0; k < kN / 16; ++k) {
      const uint32_t at = (k / 4 * kTileBytes + k % 4 * 32) >> 4;
      multiply_64<T>(y, c + at, s + at, k != 0);
    }
    products_commit();
    const float from_start[2] = {step.from_start[l], step.from_start[l + 8]}, d = step.d;
    const float row[2] = {step.row[l], step.row[l + 8]}, a[2] = {step.a[l], step.a[l + 8]};
    const float2* sources = reinterpret_cast<const float2*>(step.source + 16 * warp + 2 * t);
    const float2 source[2] = {sources[0], sources[4]};
    const int tokens = step.tokens, token = step.token, head = step.head, channel = step.channel;

    products_wait<1>();
    pin(cb);
    uint32_t m[4][4];
    switch (warp) {
      case 0:
        mix<T, 0>(m, cb, step, row, a, source, d, g, t);
        break;
      case 1:
        mix<T, 1>(m, cb, step, row, a, source, d, g, t);
        break;
      case 2:
        mix<T, 2>(m, cb, step, row, a, source, d, g, t);
        break;
      default:
        mix<T, 3>(m, cb, step, row, a, source, d, g, t);
        break;
    }

    products_wait<0>();
    pin(y);
    warp_arrive(shared.used + turn);
#pragma unroll
    for (int j = 0; j < 32; ++j) y[j] *= from_start[j / 2 % 2];
    const uint64_t x = describe_across_sum(shared_address(stage.x), kTileBytes);
    products_begin();
#pragma unroll
    for (int k = 0; k < 4; ++k) multiply_add_across<T>(y, m[k], x + ((k * 2048) >> 4));
    products_commit();

    // The next step's first product runs under what is left of this step.
    i += 2;
    more = begin_cb(Shared<kN>::place(i));
    copy_out_wait_read();
    __syncwarp();
    products_wait<1>();
    pin(y);
    hold(m, never);
    warp_arrive(shared.empty + ring.index);
#pragma unroll
    for (int j = 0; j < 8; j += 2) {
      const float* v = y + 4 * j;
      store_matrices(out_row + 16 * ((j + matrix_piece) ^ (matrix_row % 8)), hopper::pack<T>(v[0], v[1]),
                     hopper::pack<T>(v[2], v[3]), hopper::pack<T>(v[4], v[5]), hopper::pack<T>(v[6], v[7]));
    }
    if (16 * warp + 16 <= tokens) {
      fence_async();
      __syncwarp();
      if (lane == 0) copy_box_out_3d(&maps.out, shared_address(out_tile), channel, head, token + 16 * warp);
      copy_out_commit();
    } else {
      __syncwarp();
      for (int r = lane / 8; r < tokens - 16 * warp; r += 4) {
        const int at = channel + 8 * (lane % 8);
        T* out = static_cast<T*>(p.out) + static_cast<int64_t>(token + 16 * warp + r) * p.out_stride +
                 head * p.head_dim + at;
        if (at < p.head_dim) {
          *reinterpret_cast<uint4*>(out) = reinterpret_cast<const uint4*>(out_tile)[8 * r + (lane % 8 ^ r % 8)];
        }
      }
    }
    products_wait<0>();
    pin(cb);
  }
  copy_out_wait();
}

}  // namespace mamba::cuda::scan
