/**
 * Tender's figures (arXiv 2406.12930, INT4, geometric means): how much faster it is, and how much less energy it takes,
 * than ANT, OLAccel and OliVe.
 *
 * Normalisation: prompts of 2048 tokens, matrices of the layers, arrays of equal area by counted cells, the same
 * buffers, memory and clock. How the paper set its rivals up isn't known to us: ANT and OLAccel run the mix of 4 and 8
 * bits that the MixPE authors give them, OliVe everything in 4.
 */
import { arrayAccelerator, arrayOwn } from '../designs.js';
import { joulesOf } from '../types.js';
import { prefillGemms, publishedModels } from '../workload.js';
import type { Check } from './types.js';

/** Groups of channels of each model in 4 bits, from the paper. */
const groups: Readonly<Record<string, number>> = {
  'opt-6.7b': 8,
  'opt-13b': 8,
  'llama-2-7b': 14,
  'llama-2-13b': 16,
};

const rivals = ['ant', 'olaccel', 'olive'] as const;
const published = {
  ant: { speed: 2.63, energy: 1.84 },
  olaccel: { speed: 1.84, energy: 1.53 },
  olive: { speed: 1.48, energy: 1.24 },
} as const;

/** Time and energy of the rival ÷ Tender's, geometric means over the models. */
function besideTender(rival: (typeof rivals)[number]): { readonly speed: number; readonly energy: number } {
  const ratios = publishedModels.map((model) => {
    const layers = prefillGemms(model, { batch: 1, promptTokens: 2048, outputTokens: 0 });
    const matrices = layers.filter(({ operand, n }) => operand === 'weights' && n !== model.vocab);
    const own = arrayAccelerator({ ...arrayOwn.tender, bubbles: (groups[model.name] ?? 1) - 1 }).evaluate(matrices);
    const other = arrayAccelerator(arrayOwn[rival]).evaluate(matrices);
    return { speed: other.seconds / own.seconds, energy: joulesOf(other.energy) / joulesOf(own.energy) };
  });
  const mean = (of: 'speed' | 'energy') => {
    return Math.exp(ratios.reduce((sum, ratio) => sum + Math.log(ratio[of]), 0) / ratios.length);
  };
  return { speed: mean('speed'), energy: mean('energy') };
}

export const checkTender = (): readonly Check[] =>
  rivals.flatMap((rival): Check[] => {
    const { speed, energy } = besideTender(rival);
    const common = { group: 'tender' } as const;
    return [
      { ...common, figure: `speed ÷ ${rival}`, published: published[rival].speed, ours: speed, tolerance: 0.1 },
      // Of the rivals' energies nothing is published but these results: stated beside ours, without a claim.
      {
        ...common,
        figure: `energy of ${rival} ÷ own`,
        published: published[rival].energy,
        ours: energy,
        tolerance: null,
      },
    ];
  });
