import assert from 'node:assert/strict';
import { test } from 'node:test';
import { NibbleError } from '../../src/errors.js';
import { CHAT_PROMPT_CHARS_MAX } from '../../src/limits.js';
import { ChatTemplate } from '../../src/model/chat-template/index.js';
import { tinyChatTemplate } from '../../src/model/generated/tokenizer.js';

const constants = { bos_token: '<s>', eos_token: '</s>' };
const isFailure = (pattern: RegExp) => (error: unknown) =>
  error instanceof NibbleError && error.code === 'chat_template_failed' && pattern.test(error.message);

async function withTemplate(
  source: string,
  use: (template: ChatTemplate) => Promise<void>,
  msMax?: number,
): Promise<void> {
  const template = new ChatTemplate(source, constants, msMax);
  try {
    await use(template);
  } finally {
    await template.close();
  }
}

test('a template renders conversations, one after the other, in order', async () => {
  await withTemplate(tinyChatTemplate, async (template) => {
    const say = (content: string) => template.render({ messages: [{ role: 'user', content }] });
    const rendered = await Promise.all([say('a'), say('b'), say('日本 \u{1f600}')]);
    assert.deepEqual(
      rendered,
      ['a', 'b', '日本 \u{1f600}'].map((text) => `<|im_start|>user\n${text}<|im_end|>\n`),
    );
    const prompt = await template.render({ messages: [], add_generation_prompt: true });
    assert.equal(prompt, '<|im_start|>assistant\n');
  });
});

test('BOS and EOS are those of the model, whatever a request says', async () => {
  await withTemplate('{{ bos_token }}{{ x }}{{ eos_token }}', async (template) => {
    assert.equal(await template.render({ x: 1, bos_token: 'mine' }), '<s>1</s>');
  });
});

test('what a template refuses, or gets wrong, fails that conversation only', async () => {
  const source = "{% if x == 1 %}{{ raise_exception('roles must alternate') }}{% endif %}{{ x.y.z }}fine";
  await withTemplate(source, async (template) => {
    await assert.rejects(template.render({ x: 1 }), isFailure(/roles must alternate/));
    assert.equal(await template.render({ x: { y: { z: 'is ' } } }), 'is fine');
  });
  await withTemplate('{% for %}', async (template) => {
    await assert.rejects(template.render({}), isFailure(/./));
  });
});

test('a template that runs for ever is ended, and the next conversation gets a new thread', async () => {
  const endless =
    '{% if x %}{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}{% endif %}ok';
  await withTemplate(
    endless,
    async (template) => {
      const endlessly = assert.rejects(template.render({ x: 1 }), isFailure(/more than 300 ms/));
      assert.equal(await template.render({}), 'ok');
      await endlessly;
    },
    300,
  );
});

test('a template that eats memory is ended', async () => {
  const hungry =
    "{% set ns = namespace(a='x') %}{% for i in range(60) %}{% set ns.a = ns.a ~ ns.a %}{% endfor %}{{ ns.a }}";
  const growing = '{% set ns = namespace(a=[1]) %}{% for i in range(60) %}{% set ns.a = ns.a + ns.a %}{% endfor %}';
  for (const source of [hungry, growing]) {
    await withTemplate(source, (template) => assert.rejects(template.render({}), isFailure(/./)));
  }
  const long = `{{ 'x' * 1 }}{% for i in range(${CHAT_PROMPT_CHARS_MAX / 1000 + 1}) %}{{ '${'y'.repeat(1000)}' }}{% endfor %}`;
  await withTemplate(long.replace("{{ 'x' * 1 }}", ''), (template) =>
    assert.rejects(template.render({}), isFailure(/characters/)),
  );
});

test('a template reaches nothing but its values', async () => {
  const attempts = [
    '{{ process }}',
    '{{ globalThis }}',
    "{{ messages.constructor.constructor('return process')() }}",
    "{{ range.constructor('return process')() }}",
    "{{ ''.constructor.constructor('return process')().exit(3) }}",
    '{{ messages.__proto__.polluted }}',
    "{{ require('fs') }}",
    "{{ raise_exception.constructor('return 1')() }}",
    '{{ cycler.__init__.__globals__ }}',
  ];
  const source = attempts.map((attempt, i) => `{% if x == ${i} %}${attempt}{% endif %}`).join('');
  await withTemplate(source, async (template) => {
    for (const [x, attempt] of attempts.entries()) {
      const text = await template.render({ x, messages: [{ role: 'user' }] }).catch((error: unknown) => {
        assert.ok(isFailure(/./)(error), attempt);
        assert.doesNotMatch(String(error), /thread ended/, attempt);
        return '';
      });
      assert.equal(text, '', attempt);
    }
  });
});

test('closing rejects what waits and what comes later', async () => {
  const template = new ChatTemplate('x', constants);
  const waiting = [template.render({}), template.render({})];
  const rejected = Promise.all(
    waiting.map((one) => assert.rejects(one, (error: unknown) => (error as NibbleError).code === 'draining')),
  );
  await template.close();
  await template.close();
  await rejected;
  await assert.rejects(template.render({}), (error: unknown) => (error as NibbleError).code === 'draining');
});
