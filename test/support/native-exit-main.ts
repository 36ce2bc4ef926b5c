/**
 * Child process of tests: `native-exit-main.ts FILE load|step MS` ends itself by process.exit(7) so long after it began
 * to load the model, or after it queued two long steps.
 */
import { loadNativeModel } from '../../src/engine/open.js';
import { readModelFile } from '../../src/model/gguf.js';
import { ROW_SAMPLE } from '../../src/native/contract.js';
import { NativeKit } from './native-kit.js';
import { randomTokens } from './native-logits.js';

const [path = '', moment = '', ms = ''] = process.argv.slice(2);
const TOKENS = 512;
const sizes = { contextTokensMax: TOKENS, kvBlockCount: 2 * (TOKENS / 16) };

if (moment === 'load') {
  const file = await readModelFile(path);
  void loadNativeModel(file, {
    ...sizes,
    threads: 2,
    activations: 'a8',
    kv: 'f16',
    slotCount: 1,
    onProgress: () => {},
  });
} else {
  const kit = await NativeKit.open(path, sizes);
  for (const seed of [1, 2]) {
    const sequence = kit.open(TOKENS);
    void kit.step([{ sequence, tokens: randomTokens(TOKENS, 288, seed), rows: [[TOKENS - 1, ROW_SAMPLE]] }]);
  }
}
setTimeout(() => process.exit(7), Number(ms));
