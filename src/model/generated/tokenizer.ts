/** The tokenizer section of generated models: byte-level BPE that can encode any text. */
import type { GgufValue } from '../gguf-types.js';

const tinySpecials = ['<|endoftext|>', '<|im_start|>', '<|im_end|>'] as const;
/** Id of the first special token; 256 byte tokens come before, merged tokens after. */
const TINY_SPECIAL_ID = 256;
const TINY_VOCAB_MIN = TINY_SPECIAL_ID + tinySpecials.length;

export const tinyChatTemplate =
  '{% for message in messages %}' +
  "{{'<|im_start|>' + message['role'] + '\\n' + message['content'] + '<|im_end|>' + '\\n'}}" +
  "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}";

/** GPT-2's printable stand-in for each byte: itself if it is a visible Latin-1 character, else U+0100 and up. */
function byteCharacters(): readonly string[] {
  let next = 256;
  return Array.from({ length: 256 }, (_, byte) => {
    const visible = (byte >= 33 && byte <= 126) || (byte >= 161 && byte <= 172) || byte >= 174;
    return String.fromCharCode(visible ? byte : next++);
  });
}

/** GGUF's token types. */
const TOKEN_NORMAL = 1;
const TOKEN_CONTROL = 3;
const TOKEN_UNUSED = 5;

const commonMerges = [
  'Ġ t,Ġ a,h e,i n,r e,o n,Ġt he,e r,Ġ s,a t,Ġ w,Ġ o,e n,Ġ c,i t,i s,a n,o r,e s,Ġ b,e d,Ġ f,in g,Ġ p,o u,Ġa n',
  'a l,a r,Ġt o,Ġ m,Ġo f,Ġ in,Ġ d,Ġ h,Ġan d',
]
  .join(',')
  .split(',');

/** Merges for at most `count` new tokens: common English ones, then all pairs of capital letters. */
function mergeList(count: number): string[] {
  const letters = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ';
  const merges = [...commonMerges];
  for (const left of letters) for (const right of letters) merges.push(`${left} ${right}`);
  for (const pair of letters)
    for (let i = 0; i < 26 * 26; i += 1) {
      merges.push(`${pair}${pair} ${letters[Math.floor(i / 26)]}${letters[i % 26]}`);
    }
  return merges.slice(0, count);
}

/**
 * `vocab` tokens: bytes, special ones, merges; the rest of a large vocabulary are tokens that no text gives.
 */
export function generatedTokenizer(vocab: number, pre: string, addBos: boolean): Map<string, GgufValue> {
  if (vocab < TINY_VOCAB_MIN) throw new Error(`a generated vocabulary has at least ${TINY_VOCAB_MIN} tokens`);
  const merges = mergeList(vocab - TINY_VOCAB_MIN);
  const words = [...byteCharacters(), ...tinySpecials, ...merges.map((merge) => merge.replace(' ', ''))];
  const unused = Array.from({ length: vocab - words.length }, (_, i) => `<|unused_${i}|>`);
  const tokens = [...words, ...unused];
  const isSpecial = (id: number) => id >= TINY_SPECIAL_ID && id < TINY_VOCAB_MIN;
  const types = tokens.map((_, id) =>
    id >= words.length ? TOKEN_UNUSED : isSpecial(id) ? TOKEN_CONTROL : TOKEN_NORMAL,
  );
  const u32 = (value: number): GgufValue => ({ type: 'u32', value });
  return new Map<string, GgufValue>([
    ['tokenizer.ggml.model', { type: 'string', value: 'gpt2' }],
    ['tokenizer.ggml.pre', { type: 'string', value: pre }],
    ['tokenizer.ggml.tokens', { type: 'array', of: 'string', value: tokens }],
    ['tokenizer.ggml.token_type', { type: 'array', of: 'i32', value: types }],
    ['tokenizer.ggml.merges', { type: 'array', of: 'string', value: merges }],
    ['tokenizer.ggml.unknown_token_id', u32(TINY_SPECIAL_ID)],
    ['tokenizer.ggml.bos_token_id', u32(TINY_SPECIAL_ID + 1)],
    ['tokenizer.ggml.eos_token_id', u32(TINY_SPECIAL_ID + 2)],
    ['tokenizer.ggml.padding_token_id', u32(TINY_SPECIAL_ID + 2)],
    ['tokenizer.ggml.add_bos_token', { type: 'bool', value: addBos }],
    ['tokenizer.ggml.add_space_prefix', { type: 'bool', value: false }],
    ['tokenizer.chat_template', { type: 'string', value: tinyChatTemplate }],
  ]);
}
