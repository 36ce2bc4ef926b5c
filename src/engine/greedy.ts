import type { SamplingRequest } from './types.js';

/** The likeliest token, always, as the model gives it: no filter, no penalty, no bias. */
export const greedy: SamplingRequest = {
  temperature: 0,
  topK: 0,
  topP: 1,
  minP: 0,
  presencePenalty: 0,
  frequencyPenalty: 0,
  repetitionPenalty: 1,
  seed: 0n,
  choice: 0,
  biasIds: new Int32Array(0),
  biasValues: new Float32Array(0),
};
