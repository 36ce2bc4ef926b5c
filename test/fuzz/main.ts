/** One target for some seconds: `main.ts NAME SECONDS SEED FILE`; FILE always holds the input that is being tried. */
import { closeSync, ftruncateSync, openSync, readFileSync, writeSync } from 'node:fs';
import { fuzz } from './loop.js';
import { targets } from './targets.js';

const [name = '', seconds = '0', seed = '1', file = ''] = process.argv.slice(2);
const target = targets[name];
if (target === undefined) throw new Error(`targets: ${Object.keys(targets).join(', ')}`);
if (seconds === 'replay') {
  await target.run(readFileSync(file));
  console.log('nothing is wrong with it');
} else {
  const opened = openSync(file, 'w');
  const before = (input: Buffer): void => {
    ftruncateSync(opened, 0);
    writeSync(opened, input, 0, input.length, 0);
  };
  const { cases, kept, places } = await fuzz(target, Number(seconds), Number(seed), before);
  closeSync(opened);
  console.log(`${name}: ${cases} inputs, ${kept} in the corpus, ${places} places reached, nothing found`);
}
process.exit(0);
