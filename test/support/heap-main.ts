// Prints, as JSON, how far V8's young generation grows (MiB) during a small start, after its end, and in a thread then.
import { getHeapSpaceStatistics } from 'node:v8';
import { Worker } from 'node:worker_threads';
import { startSmall } from '../../src/cli/heap.js';

/** Allocates objects of which some live on, so that V8 lets the young generation grow as far as it may. */
function youngGenerationMiB(): number {
  const kept: object[][] = [];
  for (let round = 0; round < 30; round += 1) {
    kept.push(Array.from({ length: 60_000 }, (_, i) => ({ i })));
    if (kept.length > 3) kept.shift();
  }
  const space = getHeapSpaceStatistics().find((one) => one.space_name === 'new_space');
  return (space?.physical_space_size ?? 0) / 2 ** 20;
}

const inThread = `const { getHeapSpaceStatistics } = require('node:v8');
  require('node:worker_threads').parentPort.postMessage((${youngGenerationMiB.toString()})())`;

const end = startSmall();
const during = youngGenerationMiB();
end();
const after = youngGenerationMiB();
const hasGc = 'gc' in globalThis;
new Worker(inThread, { eval: true }).on('message', (thread: number) => {
  console.log(JSON.stringify({ during, after, thread, hasGc }));
});
