// Runs `serve` as a process of its own, around a fake engine: for tests of signals and of the life of a server.
// Arguments: settings as JSON flags, then options as JSON.

import { serve } from '../../src/cli/serve.js';
import { loadConfig } from '../../src/config.js';
import type { OpenedModel } from '../../src/engine/open-types.js';
import { createFakeTokenizer, FakeEngine } from './fake-engine.js';

type Options = { readonly held?: boolean; readonly neverLoads?: boolean; readonly failsToLoad?: boolean };

const [flags = '{}', given = '{}'] = process.argv.slice(2);
const options = JSON.parse(given) as Options;

/** The first request comes from `serve` itself, which isn't ready before its end. */
function holdAfterWarmUp(engine: FakeEngine): void {
  const submit = engine.submit.bind(engine);
  let isWarm = false;
  engine.submit = (...request) => {
    if (isWarm) engine.hold();
    isWarm = true;
    return submit(...request);
  };
}

async function openModel(): Promise<OpenedModel> {
  if (options.failsToLoad === true) throw new Error('no such model');
  if (options.neverLoads === true) await new Promise(() => {});
  const engine = new FakeEngine();
  if (options.held === true) holdAfterWarmUp(engine);
  process.on('SIGUSR2', () => engine.release());
  const tokenizer = createFakeTokenizer();
  const info = { level: 'avx2', threads: 2, packedBytes: 1000, kvBytes: 3 * 1024 * 1024, loadNs: 12_345_678 };
  return {
    engine,
    tokenizer,
    // Of file and native model `serve` reads no more than this.
    modelFile: {
      ...{ id: 'fake-model', fileBytes: 1, tokenizer: {}, tensors: [], nibble: null },
      architecture: { layers: 1, heads: 1, headDim: 16 },
    } as unknown as OpenedModel['modelFile'],
    nativeModel: { info } as OpenedModel['nativeModel'],
    chatTemplate: null,
    encodeLong: async (text, encodeOptions) => tokenizer.encode(text, encodeOptions),
    close: async () => {},
  };
}

try {
  await serve(loadConfig(JSON.parse(flags), {}), async () => ({
    id: 'fake-model',
    bytes: 1000,
    content: 'fake',
    open: openModel,
  }));
} catch (error) {
  console.error(String(error));
  process.exit(1);
}
