/** `quantize --auto` on a small model: budgets are kept, and what was measured once is used again. */
import assert from 'node:assert/strict';
import { stat } from 'node:fs/promises';
import { after, before, test } from 'node:test';
import { type Budget, quantizeAuto } from '../../src/cli/quantize-auto.js';
import { NibbleError } from '../../src/errors.js';
import { readModelFile } from '../../src/model/gguf.js';
import { parseRecipeText } from '../../src/model/recipe.js';
import { layerClasses } from '../../src/model/recipe-types.js';
import type { Quantized } from '../../src/quant/quantize.js';
import { resolveRecipe } from '../../src/quant/recipe.js';
import { type AutoFormat, autoFormats } from '../../src/quant/sensitivity.js';
import { writeTinyModel } from '../support/gguf-fixtures.js';
import { opener, QuantizeKit } from '../support/quantize-kit.js';

let kit: QuantizeKit;
let text = '';
before(async () => {
  kit = await QuantizeKit.create();
  const f32 = { attention: 'F32', ffn: 'F32', embedding: 'F32' } as const;
  await writeTinyModel(kit.path('model.gguf'), { types: f32, ffn: 128 });
  text = await kit.write('text.txt', 'pack my box with five dozen liquor jugs, said the fox. '.repeat(20));
});
after(() => kit.remove());

/** Formats of the layers and tensor bytes are checked by the callers; returns what was printed too. */
async function auto(
  out: string,
  budget: Budget,
  phases: string[] = [],
  formats: readonly AutoFormat[] = autoFormats,
): Promise<Quantized & { printed: string }> {
  let printed = '';
  const model = kit.path('model.gguf');
  const settings = ['calibration.tokens=128', 'calibration.window=32', 'rounding=rtn', 'clip=none'];
  const quantized = await quantizeAuto({
    ...{ model, out: kit.path(out), calibration: text, resume: false, toolVersion: '1.2.3' },
    ...{ recipe: await resolveRecipe('w4a8', settings), open: opener(model), budget, formats },
    onProgress: (phase) => phases.push(phase),
    signal: new AbortController().signal,
    sensitivity: kit.path('sensitivity.json'),
    print: async (table) => {
      printed += table;
    },
  });
  return { ...quantized, printed };
}

test('a divergence is kept, as measured on the file; a larger budget gives a smaller file', async () => {
  const tight = await auto('tight.gguf', { kind: 'kl', most: 0.03 });
  const measured = [...tight.printed.matchAll(/measured (\d\.\d+)/g)].map(([, kl]) => Number(kl));
  assert.ok(measured.length > 0 && (measured.at(-1) ?? 1) <= 0.03, tight.printed);
  const before = (await stat(kit.path('sensitivity.json'))).mtimeMs;
  const loose = await auto('loose.gguf', { kind: 'kl', most: 0.5 });
  assert.ok(loose.bytes < tight.bytes, `${loose.bytes} < ${tight.bytes}`);
  assert.equal((await stat(kit.path('sensitivity.json'))).mtimeMs, before, 'nothing was measured twice');
  const recipe = parseRecipeText(String(await kit.bytes('loose.gguf.recipe.json')));
  const { nibble } = await readModelFile(kit.path('loose.gguf'));
  assert.deepEqual(nibble?.recipe.classes.down, recipe.classes.down);
});

test('nothing but the formats allowed is chosen', async () => {
  const { plan } = await auto('two.gguf', { kind: 'kl', most: 0.5 }, [], ['w4g32', 'w5g32']);
  const { classes, layers = {} } = plan.recipe;
  const chosen = [...layerClasses.map((name) => classes[name]), ...Object.values(layers).flatMap(Object.values)];
  assert.ok(chosen.every(({ weights }) => weights === 'w4g32' || weights === 'w5g32'));
  // Rows of 32 inputs and more aren't whole groups of 128.
  const refused = auto('none.gguf', { kind: 'kl', most: 0.5 }, [], ['w4g128a']);
  await assert.rejects(refused, { code: 'invalid_request', param: 'formats' });
});

test('a size is kept', async () => {
  const { fileBytes } = await readModelFile(kit.path('model.gguf'));
  const { plan, printed } = await auto('small.gguf', { kind: 'bytes', most: fileBytes });
  assert.equal(plan.recipe.classes.down.weights, 'w8g32', 'where everything fits nothing is lost');
  assert.match(printed, /→/);
  await assert.rejects(
    auto('smaller.gguf', { kind: 'bytes', most: 1000 }),
    (error) => error instanceof NibbleError && error.code === 'invalid_request',
  );
});
