/** An exploration as `nibble explore` finds them, without the work. */
import type { Exploration, FrontPoint } from '../../src/cli/explore/result.js';
import type { SweepElement } from '../../src/cost/explore/sweep.js';

function point(id: string, element: SweepElement, recipe: string, scale: number): FrontPoint {
  return {
    id,
    choice: {
      ...{ element, recipe, rows: 8, columns: 16, weightBufferKiB: 32, activationBufferKiB: 64, outputBufferKiB: 16 },
      ...{ memoryGBs: 8, clockMHz: 500 },
    },
    evaluation: {
      ...{ macs: 1000, cycles: 100, seconds: 2 * scale, areaMm2: 3 / scale },
      energy: { mac: 1, sram: 2, dram: 3, static: 4 / scale },
    },
  };
}

const recipe = (name: string, klMean: number): Exploration['recipes'][number] => ({
  recipe: {
    ...{ name, error: klMean, weightBits: 4, storedWeightBits: 5, activationBits: 8, headBits: 8, scheme: 'groups' },
  },
  fidelity: { klMean, klError: klMean / 10, ratio: 1.01, fileBytes: 1e8, path: `/models/${name}.gguf` },
  frontPoints: 2,
  cpu: { prefillTokensPerS: 1000, decodeTokensPerS: 100, seconds: 7, joules: 70, source: 'tdp: CPU time' },
  rooflineSeconds: 5,
});

/** `data` is a text from outside. */
export const exploration = (data = 'text.txt'): Exploration => ({
  machine: { cpu: 'a <fast> one', isa: 'avx2', threads: 2, cores: 2 },
  ...{
    model: 'small',
    shape: 'small',
    commit: 'c0ffee',
    date: '2026-01-01T00:00:00.000Z',
    command: 'nibble explore',
    data,
  },
  workload: { batch: 4, promptTokens: 512, outputTokens: 128 },
  space: {
    ...{ elements: ['int8', 'w4a8'], recipes: ['w8a8', 'w4a8'], rows: [8], columns: [16], weightBufferKiB: [32] },
    ...{ activationBufferKiB: [64], outputBufferKiB: [16], memoryGBs: [8], clockMHz: [500] },
  },
  ...{ points: 1000, pointsPerMinute: 2e6, frontPoints: 4 },
  front: [
    point('d1', 'int8', 'w8a8', 1),
    point('d2', 'int8', 'w4a8', 2),
    point('d3', 'w4a8', 'w4a8', 3),
    point('d4', 'w4a8', 'w4a8', 10),
  ],
  known: [
    {
      ...{ name: 'int8', about: 'INT8 array', weightBits: 8, activationBits: 8 },
      evaluation: point('d5', 'int8', 'w8a8', 1).evaluation,
    },
  ],
  recipes: [recipe('w8a8', 0), recipe('w4a8', 0.02)],
});
