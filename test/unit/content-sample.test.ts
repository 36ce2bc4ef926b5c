import assert from 'node:assert/strict';
import { copyFileSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { contentSample } from '../../src/model/content-sample.js';

test('copies have the same sample, other content, sizes and ends have another', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'nibble-sample-'));
  const sampleOf = (name: string, content: Uint8Array) => {
    writeFileSync(join(folder, name), content);
    return contentSample(join(folder, name));
  };
  try {
    const content = Uint8Array.from({ length: 1_000_000 }, (_, i) => (i * 31) % 251);
    const first = await sampleOf('a', content);
    copyFileSync(join(folder, 'a'), join(folder, 'copy'));
    assert.equal(await contentSample(join(folder, 'copy')), first);
    const changed = (at: number) => content.with(at, (content[at] ?? 0) ^ 1);
    const others = [
      await sampleOf('b', changed(0)),
      await sampleOf('c', changed(content.length - 1)),
      await sampleOf('d', content.subarray(0, -1)),
      await sampleOf(
        'e',
        content.map((byte) => byte ^ 1),
      ),
      await sampleOf('empty', new Uint8Array(0)),
      await sampleOf('byte', Uint8Array.of(1)),
    ];
    assert.equal(new Set([first, ...others]).size, 1 + others.length);
    await assert.rejects(contentSample(join(folder, 'absent')), { code: 'ENOENT' });
  } finally {
    rmSync(folder, { recursive: true });
  }
});
