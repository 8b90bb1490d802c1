import { allGather } from "../ops/collectives";
import type { Tensor } from "../tensor/tensor";
import type { Range } from "../weights/range";
import type { WeightScope } from "../weights/scope";
import type { ModelBuild } from "./build";
import type { Forward } from "./forward";
import { Linear } from "./linear";
import { length, type Rank, unitShare } from "./share";
import type { StepLoad, Work } from "./work";

/** Tokens whose logits stay together, unless there are hardly as many. */
const UNIT = 16;

/** Hidden states to logits. Each rank has some of the tokens, and gets the others' logits. */
export class LmHead {
  private constructor(
    private readonly linear: Linear,
    private readonly place: Rank,
    private readonly unit: number,
    private readonly own: Range,
  ) {}

  static load(
    build: ModelBuild,
    weights: WeightScope,
    [vocabSize, hiddenSize]: [number, number],
    outputScale?: number,
  ): LmHead {
    const { place } = build;
    const unit = vocabSize >= UNIT * place.ranks ? UNIT : 1;
    const own = unitShare(vocabSize, unit, place);
    const part = { weights, n: vocabSize, rows: [own] };
    return new LmHead(Linear.stacked(build, [part], hiddenSize, false, { outputScale }), place, unit, own);
  }

  /** hidden [rows, hidden] -> out f32 [rows, vocab]. */
  forwardInto(f: Pick<Forward, "stream">, hidden: Tensor, out: Tensor): void {
    if (this.place.ranks === 1) {
      this.linear.forwardInto(f, hidden, out);
      return;
    }
    const [begin] = this.own;
    this.linear.forwardInto(f, hidden, out.columns(begin, [length(this.own)]));
    allGather(f.stream, { out, unit: this.unit });
  }

  work(load: Pick<StepLoad, "tokens">): Work {
    return this.linear.work(load);
  }
}
