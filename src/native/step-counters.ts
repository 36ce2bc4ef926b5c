/** What the threads of a step spend their time on; `wait` is the time at barriers and until a thread is awake. */
export const OPERATORS = [
  'embed',
  'norm',
  'qkv',
  'rope',
  'attention',
  'attentionOutput',
  'gateUp',
  'activation',
  'down',
  'head',
  'sampling',
  'wait',
] as const;
export type Operator = (typeof OPERATORS)[number];

/**
 * What a step did. MACs are counted once per multiply-accumulate, also those that bit planes look up instead; bytes as
 * read from packed weights and KV blocks. `activationBytes`: of linear layers, each once however many threads read it:
 * inputs as they lie there for the kernels (f32; 64 bytes for 32 codes with their scale and sums, tables 192 more) and
 * f32 outputs. `tableLookups`: one for each quad of inputs, plane and output.
 * `shortRows`: inputs of linear layers, each token's counted apart, that were quantized to 4 bits (the head's aside).
 * Nanoseconds of operators are means over the threads; they sum to `totalNs` but for rounding.
 */
export const STEP_COUNTERS = [
  'weightBytes',
  'kvBytes',
  'int8Macs',
  'fp32Macs',
  'shortRows',
  'totalNs',
  ...OPERATORS,
  'activationBytes',
  'tableLookups',
] as const;
export type StepCounter = (typeof STEP_COUNTERS)[number];

/** One number per name in `STEP_COUNTERS`, at `counterIndex`: a step of a small model has no time to make an object. */
export type StepCounters = Float64Array;

const counterIndex = Object.fromEntries(STEP_COUNTERS.map((name, index) => [name, index])) as Readonly<
  Record<StepCounter, number>
>;

export function readCounter(counters: StepCounters, name: StepCounter): number {
  return counters[counterIndex[name]] ?? 0;
}
