/** Ways to quantize activations, as rules for the native study of inputs: Tender and what it is compared with. */
import type { InputRule } from '../../native/input-study.js';
import { type ChannelRanges, channelMaxima, finerBy, type TenderPlan } from './plan.js';

/** [chunks][inputs] steps of a plan, by channel. */
export function tenderRule(plan: TenderPlan, limit: number): InputRule {
  const inputs = plan.order.length;
  const finer = finerBy(plan);
  const steps = Float32Array.from({ length: plan.scales.length * inputs }, (_, i) => {
    return (plan.scales[Math.floor(i / inputs)] ?? 0) / (finer[i % inputs] ?? 1);
  });
  return { kind: 'fixed', limit, steps, bias: plan.bias };
}

/** The same groups, but each token has the smallest steps that clip nothing of it. */
export function tokenTenderRule(plan: TenderPlan, limit: number): InputRule {
  return { kind: 'ratios', limit, steps: Float32Array.from(finerBy(plan), (finer) => 1 / finer), bias: plan.bias };
}

/** Largest magnitude of each channel over all chunks. */
function channelPeaks(ranges: ChannelRanges): Float32Array {
  const { inputs, values } = ranges;
  const maxima = channelMaxima(ranges, new Float32Array(inputs), values.length / (2 * inputs));
  const peaks = new Float32Array(inputs);
  maxima.forEach((value, i) => {
    peaks[i % inputs] = Math.max(peaks[i % inputs] ?? 0, value);
  });
  return peaks;
}

const fixedRule = (steps: Float32Array, limit: number): InputRule => ({
  kind: 'fixed',
  limit,
  steps,
  bias: new Float32Array(steps.length),
});

/** One step for the whole tensor. */
export function tensorRule(ranges: ChannelRanges, limit: number): InputRule {
  const most = channelPeaks(ranges).reduce((top, value) => Math.max(top, value), 0);
  return fixedRule(new Float32Array(ranges.inputs).fill(most / limit), limit);
}

/** A step for each channel: the ideal, which no integer kernel can sum. */
export function channelRule(ranges: ChannelRanges, limit: number): InputRule {
  return fixedRule(
    channelPeaks(ranges).map((value) => value / limit),
    limit,
  );
}

/**
 * SmoothQuant (arXiv 2211.10438, equation 4): channel c is divided by max|x_c|^α / max|w_c|^(1 − α), which the weights
 * take over, then one step serves the tensor. In effect the steps of channels are these factors times one step.
 * `weightPeaks` [inputs]: largest magnitude of the weights' columns, of all matrices that read the input.
 */
export function smoothRule(ranges: ChannelRanges, limit: number, weightPeaks: Float32Array, alpha = 0.5): InputRule {
  const peaks = channelPeaks(ranges);
  const factors = peaks.map((peak, channel) => {
    const factor = peak ** alpha / (weightPeaks[channel] ?? 1) ** (1 - alpha);
    return factor > 0 && Number.isFinite(factor) ? factor : 1;
  });
  const most = peaks.reduce((top, peak, channel) => Math.max(top, peak / (factors[channel] ?? 1)), 0);
  return fixedRule(
    factors.map((factor) => (factor * most) / limit),
    limit,
  );
}
