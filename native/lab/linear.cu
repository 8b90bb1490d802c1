// Ladder of the linear op at decode batch sizes: out[m, n] = x[m, k] W[n, k]^T, m = 1 to 64, bf16 in, sums in float.
//
//   nvcc -std=c++20 -O3 -gencode=arch=compute_90a,code=sm_90a -lineinfo -Inative native/lab/linear.cu
//       native/cuda/{activation,linear,linear_rows,linear_walk,product_trial,quantized_linear,quantized_ring}.cu
//       native/cuda/{gemm_plans,staging,status}.cpp -lcublasLt -o linear
//   ./linear [--json FILE --commit SHA] [--check [--quick] | --time]
//
// `op` is run_linear and `library` GemmPlans::run, as the engine calls them. `frag` is the op's kernel in sizes of its
// own (cuda/linear.cuh says how it works), over the row-major weight. `packed` is its forerunner, over a weight packed
// at load so that a warp's operands are 512 bytes in a row; its blocks pull each other's sums where frag's push them.
//
// Mapping of both: a block owns 16 rows (a tile) and all of k, or, where n is small, a share of k in a cluster; its
// warps take 32 of k in turn with D of them in flight each; sums over warps through shared memory, over the blocks of a
// cluster through distributed shared memory, in a fixed order. Blocks are many and short, so that the start and end of
// one are hidden by others.
//
// Bound. Bytes: 2 n k. At the 4.3 TB/s of a copy, plus 3.8 us for an empty launch as it is timed here, 2.7b in_proj
// (54.1 MB) takes 12.6 + 3.8, out_proj (26.2 MB) 6.1 + 3.8, 7b in_proj (152 MB) 35.4 + 3.8, lm_head (268 MB) 62.4 +
// 3.8. On CUDA cores that rate is 9.3 weights a clock and multiprocessor: at m = 8, two rows a warp, 74 products and 47
// unpacked numbers of the 128 operations there are, so they can serve small m only.
//
// Measured, us on one H200, between two events around a graph of the launch, after a flush of the L2 by writes (after
// one that leaves it clean in brackets). An empty kernel takes 3.8 (3.6). "read" only reads the weight's bytes. "pack."
// is packed C1 T1 W8 D4 at m = 1 and 8 (2 and 4 lie between), packed C2 T2 W8 D2 at 16; at 32 and 64 stands the best
// version. lm_head writes float, the others bf16. Lt is the best of cuBLASLt's eight.
//
//                 read         m=1 pack.    Lt           m=8 pack.    Lt           m=16 pack.   Lt
//   130m in_proj   6.8 ( 5.7)   7.8 ( 7.0)   8.1 ( 7.5)   8.0 ( 7.1)   8.1 ( 7.3)   9.3 ( 8.6)   8.3 ( 7.6)
//   130m out_proj  5.9 ( 5.4)   7.5 ( 6.9)   8.2 ( 7.8)   7.5 ( 7.4)   8.2 ( 7.9)   8.2 ( 7.6)   8.3 ( 7.9)
//   130m lm_head  24.8 (22.0)  25.6 (24.3)  30.1 (22.9)  26.9 (24.9)  30.1 (22.9)  29.9 (28.0)  30.1 (22.8)
//   2.7b in_proj  19.2 (16.7)  20.9 (19.1)  23.2 (17.9)  21.0 (19.6)  23.2 (18.0)  21.5 (19.6)  23.3 (18.0)
//   2.7b out_proj 12.3 (10.8)  14.2 (12.4)  16.3 (13.4)  14.4 (12.9)  16.5 (13.5)  15.1 (13.9)  16.5 (13.9)
//   2.7b lm_head  68.6 (63.5)  71.0 (66.1)  73.9 (64.5)  71.8 (66.5)  74.0 (64.9)  73.8 (67.3)  74.8 (67.2)
//   7b in_proj    42.9 (39.2)  44.6 (40.8)  49.7 (41.1)  45.0 (40.9)  49.8 (41.0)  47.5 (44.1)  49.9 (41.0)
//   7b out_proj   22.4 (19.8)  23.9 (21.6)  29.3 (23.6)  24.1 (21.9)  29.0 (23.1)  25.1 (22.8)  29.1 (23.1)
//   7b lm_head    71.4 (65.9)  73.1 (68.2)  75.7 (67.1)  73.5 (68.4)  76.1 (68.2)  76.3 (70.4)  76.7 (67.7)
//
//                 m=32 best                         Lt           m=64 best                         Lt
//   130m in_proj  packed C4 T2 W8 D2  10.4 ( 9.7)   8.3 ( 7.7)  wgmma C8 R1 S6      12.2 (11.4)   8.2 ( 7.5)
//   130m out_proj packed C4 T2 W8 D2   8.6 ( 8.3)   8.2 ( 7.8)  wgmma C8 R1 S6      10.0 ( 9.2)   8.4 ( 7.8)
//   130m lm_head  wgmma C4 R1 S6      36.6 (29.8)  30.6 (23.4)  wgmma C8 R1 S6      45.8 (41.6)  31.3 (24.6)
//   2.7b in_proj  wgmma C4 R1 S6      26.7 (22.2)  23.3 (18.5)  wgmma C8 R1 S6      41.2 (38.2)  23.6 (18.4)
//   2.7b out_proj wgmma C4 R1 S6      17.1 (14.8)  16.1 (14.3)  wgmma C8 R2 S4      20.5 (18.2)  16.1 (13.5)
//   2.7b lm_head  wgmma C4 R1 S6      77.8 (70.1)  75.6 (68.3)  wgmma C8 R1 S6      89.2 (82.8)  78.3 (69.1)
//   7b in_proj    wgmma C4 R2 S5      58.6 (51.9)  50.0 (41.5)  wgmma C8 R2 S4      68.0 (61.5)  49.6 (41.8)
//   7b out_proj   packed C4 T2 W8 D2  26.9 (25.7)  29.7 (23.7)  wgmma C8 R1 S6      39.9 (35.0)  28.2 (22.9)
//   7b lm_head    wgmma C4 R2 S5      79.2 (70.6)  77.6 (69.9)  wgmma C8 R2 S4      84.6 (76.3)  79.4 (71.1)
//
// Versions on 2.7b in_proj, m = 1 (read 19.2, Lt 23.2).
//   row M1 R2 D4: CUDA cores, row-major W, two rows a warp           24.7 (23.0)
//   packed C1 T1 W8 D4: operands to registers, 24 warps              20.9 (19.1)
//   packed C1 T1 W8 D6: deeper, but 16 warps                         21.7 (20.3)  k = 768: 31.6 against 25.6
//   packed C1 T1 W8 D4 ahead: the rest of a block's W to the L2 first  24.1 (22.1)  slower in chains too
//   ring C1 112K: resident blocks, bulk copies, equal shares of W    27.9 (22.9)  was predicted to be the best
//   tile C1 S6: cp.async stages, 128 rows a block                    29.2 (24.6)
//   wgmma C1 R1 S6: bulk copies of swizzled tiles, k split           25.2 (20.6)
// The versions that go through shared memory, and the library, lose 3 to 5 us here to a dirty L2, packed 2. With a
// clean one and m up to 8 the library is up to 10% ahead of packed here and at the lm_heads, and behind at each
// out_proj.
//
// Chains of in_proj and out_proj with weights of their own in one graph; "early" starts a kernel before the last ends
// (programmatic dependent launch): it loads its first weights, then waits for x. Lt without it.
//                                                   130m, 24 pairs   2.7b, 16 pairs   7b, 8 pairs
//   bytes only, one read                             50.0            308.6            415.5
//   cuBLASLt                             m=1        223.8            422.8            483.0
//   packed C1 T1 W8 D4                   m=1        175.7            412.8            466.3
//   packed C1 T1 W8 D4 early             m=1        136.4            383.9            448.4
//   row M1 R1 D6 early                   m=1        129.1            513.0            550.5
//   cuBLASLt                             m=8        223.1            435.9            485.7
//   packed C1 T1 W8 D4                   m=8        182.5            419.1            469.4
//   packed C1 T1 W8 D4 early             m=8        142.9            388.8            453.7
// An early start saves 0.8 to 1.1 us a kernel. A kernel of the 130m chain then takes 2.8 us, 1.0 of them bytes.
//
// The same version gave the same times in two runs to 2%. Every version gives the same bits twice, with and without the
// early start, and row 0 alone has the bits it has among m rows (within a version; other versions differ in rounding).
//
// Row-major or packed. Chains as above, with early starts; "layers" have the small kernels of a layer between
// (stand-ins for norm, convolution, state update and gated norm; without the linears they take the first line). A clean
// L2, us.
//                                    130m, 24 pairs, layers   2.7b, 16 pairs, layers   7b, 8 pairs, layers
//   no linear                m=1               86.5                     79.6                    43.2
//   cuBLASLt                 m=1     221.3    317.9           407.0    487.2          470.6    515.9
//   frag C1 T1 W8 D4 (op)    m=1     122.8    197.5           348.1    430.6          426.4    459.9
//   packed C1 T1 W8 D4       m=1     133.0    213.6           360.1    439.0          410.5    448.7
//   frag C1 T1 W8 D4 (op)    m=8     134.8    239.3           369.6    516.3          438.8    532.6
//   packed C1 T1 W8 D4       m=8     138.5    254.2           369.4    518.6          418.9    519.1
//   cuBLASLt                 m=16    222.1    368.8           426.6    708.2          474.7    679.3
//   frag C2 T1 W8 D3 (op)    m=16    146.1    296.9           413.6    626.6          472.4    659.3
//   frag C2 T2 W8 D2         m=16    182.0    320.1           386.4    602.4          479.6    659.6
//   packed C2 T2 W8 D2       m=16    186.8    317.9           386.1    607.6          468.0    636.8
// A row-major weight costs 7b 2.5 to 5%, spares the others as much, and serves the library too: it is the only copy. T1
// at m = 16 keeps a row's bits those it has at m = 1.
//
// Tried on frag and dropped (m = 1, layers of 130m, 2.7b, 7b, clean; before whole steps went without zeros the op's
// kernel took 203, 434, 464): loads that ask the L2 for 256 bytes instead of 128 (+1 to 2%), or for no more than theirs
// (+1 to 10%); two adjacent steps a warp (+1 to 2%); rows 128 bytes longer (-1 to 0%); four blocks of depth 3, five of
// depth 2, two tiles (-1 to +13%); the next kernel let start before the first loads (+5 to 18%); k never split (0%, but
// pairs of 2.7b +8%); operands through shared memory with cp.async, each lane's in a place of its own, so that 192 KB a
// multiprocessor are under way before the inputs come (-3 to +23%); the rest of a block's rows to the L2 before the
// inputs come (0, +19, +27%), or 8 to 24 MB of the next launch's weight at its start or at its end (0 to +3%). So a
// linear of 130m adds 2.3 us to the small kernels in every form, 1.0 of them bytes; where the rest goes is not known.
//
// Through GemmPlans, prefill of m = 8192, TFLOP/s: in_proj, out_proj of 130m 695, 613; 2.7b 823, 820; 7b 690, 835. At
// m = 32 and 64 it takes the times of Lt above.
#include "lab/linear_check.cuh"
#include "lab/linear_time.cuh"

int main(int argc, char** argv) {
  const lab::Options options(argc, argv);
  Workspace workspace;
  if (options.check && !check_op(options.quick, workspace)) return 1;
  if (options.check && !check_all(options.quick, workspace)) return 1;
  if (!options.time) return 0;
  lab::Bench bench;
  lab::Report report(options);
  report.line("empty", "", "", bench.empty(), 0, {});
  time_all(bench, report, workspace);
  return 0;
}
