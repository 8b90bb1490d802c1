import { type Initial, initial } from "../weights/dummy";

/** What the small tensors of Mamba-2 mixers and gated delta nets are trained from, so that dummy models stay finite over any length. */
export const recurrentInitial = {
  /** Log of a rate of decay, uniform from 1 to 16. */
  logDecay: { law: { law: "uniform", low: 1, high: 16, map: Math.log }, f32: true },
  skip: { ...initial.ones, f32: true },
  /** Inverse softplus of a time step, log-uniform from 0.001 to 0.1. */
  timeStepBias: {
    law: {
      law: "uniform",
      low: Math.log(0.001),
      high: Math.log(0.1),
      map: (log: number) => Math.exp(log) + Math.log(-Math.expm1(-Math.exp(log))),
    },
    f32: true,
  },
  /** The law of a convolution of each channel by itself. */
  taps: (width: number): Initial => ({ law: { law: "uniform", low: -(width ** -0.5), high: width ** -0.5 } }),
} as const;
