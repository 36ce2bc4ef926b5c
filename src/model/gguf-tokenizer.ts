/** The tokenizer section of a GGUF file, checked; defaults are those of llama.cpp's llama-vocab.cpp. */
import { NibbleError } from '../errors.js';
import {
  metadataInvalid,
  optionalBool,
  optionalInteger,
  optionalNumbers,
  optionalString,
  optionalStrings,
  required,
} from './gguf-metadata.js';
import type { GgufMetadata } from './gguf-types.js';
import type { InfillIds, TokenizerMetadata } from './types.js';

const TOKEN_NORMAL = 1;
const TOKEN_CONTROL = 3;
const TOKEN_USER_DEFINED = 4;
const TOKEN_TYPE_MAX = 6;

/** Files often name one end token only; llama.cpp finds the others by these texts. */
const endTexts: ReadonlySet<string> = new Set([
  '<|endoftext|>',
  '<|end_of_text|>',
  '<|im_end|>',
  '<|eot_id|>',
  '<|eom_id|>',
  '<|end|>',
  '<end_of_turn>',
  '<EOT>',
  '[EOT]',
  '</s>',
]);

/** Pre-tokenizers whose models expect BOS although their files don't say so. */
const bosByDefault: ReadonlySet<string> = new Set(['llama3', 'llama-v3', 'llama-bpe', 'tekken']);

/** Throws `tokenizer_unsupported` and `model_metadata_invalid`. */
export function readTokenizerMetadata(metadata: GgufMetadata): TokenizerMetadata {
  const model = required('tokenizer.ggml.model', optionalString(metadata, 'tokenizer.ggml.model'));
  if (model !== 'gpt2' && model !== 'llama') {
    const message = `the model '${model.slice(0, 64)}' is not supported (gpt2 and llama are).`;
    throw new NibbleError('tokenizer_unsupported', { message });
  }
  const tokens = required('tokenizer.ggml.tokens', optionalStrings(metadata, 'tokenizer.ggml.tokens'));
  if (tokens.length === 0) throw metadataInvalid('tokenizer.ggml.tokens', 'is empty');
  const tokenTypes = readTokenTypes(metadata, tokens.length);
  const scores = readScores(metadata, tokens.length);
  const isSentencePiece = model === 'llama';
  if (isSentencePiece && scores === null) throw metadataInvalid('tokenizer.ggml.scores', 'is missing');

  const id = (name: string, fallback: number | null) => {
    const range = { min: 0, max: tokens.length - 1 };
    const stated = optionalInteger(metadata, `tokenizer.ggml.${name}_token_id`, range);
    return stated ?? (fallback !== null && fallback < tokens.length ? fallback : null);
  };
  const bool = (name: string) => optionalBool(metadata, `tokenizer.ggml.${name}`);
  const pre = isSentencePiece ? null : optionalString(metadata, 'tokenizer.ggml.pre');
  const eosId = id('eos', isSentencePiece ? 2 : null);
  id('padding', null);
  id('seperator', null);
  const extra = [id('eot', null), id('eom', null), ...endIdsByText(tokens, tokenTypes)];
  return {
    model,
    pre,
    tokens,
    tokenTypes,
    merges: readMerges(metadata, !isSentencePiece),
    scores,
    bosId: id('bos', isSentencePiece ? 1 : null),
    eosId,
    extraEndIds: [...new Set(extra)].filter((end): end is number => end !== null && end !== eosId),
    unknownId: id('unknown', isSentencePiece ? 0 : null),
    addBos: bool('add_bos_token') ?? (isSentencePiece || (pre !== null && bosByDefault.has(pre))),
    addEos: bool('add_eos_token') ?? false,
    addSpacePrefix: bool('add_space_prefix') ?? isSentencePiece,
    chatTemplate: optionalString(metadata, 'tokenizer.chat_template'),
    infill: readInfill(tokens, tokenTypes, id),
  };
}

/** Keys of the three ids, today's and yesterday's, and the texts by which llama.cpp finds what files don't name. */
const infillParts = {
  prefixId: {
    keys: ['fim_pre', 'prefix'],
    texts: ['<|fim_prefix|>', '<fim-prefix>', '<fim_prefix>', '<｜fim▁begin｜>', '<PRE>', '▁<PRE>', '<|code_prefix|>'],
  },
  suffixId: {
    keys: ['fim_suf', 'suffix'],
    texts: ['<|fim_suffix|>', '<fim-suffix>', '<fim_suffix>', '<｜fim▁hole｜>', '<SUF>', '▁<SUF>', '<|code_suffix|>'],
  },
  middleId: {
    keys: ['fim_mid', 'middle'],
    texts: ['<|fim_middle|>', '<fim-middle>', '<fim_middle>', '<｜fim▁end｜>', '<MID>', '▁<MID>', '<|code_middle|>'],
  },
} as const;

/** All three, or none. */
function readInfill(
  tokens: readonly string[],
  types: Int32Array,
  id: (name: string, fallback: null) => number | null,
): InfillIds | null {
  const find = ({ keys, texts }: { readonly keys: readonly string[]; readonly texts: readonly string[] }) => {
    const stated = keys.map((key) => id(key, null)).find((found) => found !== null);
    if (stated !== undefined) return stated;
    const at = tokens.findIndex((token, index) => types[index] !== TOKEN_NORMAL && texts.includes(token));
    return at < 0 ? null : at;
  };
  const [prefixId, suffixId, middleId] = [infillParts.prefixId, infillParts.suffixId, infillParts.middleId].map(find);
  if (prefixId == null || suffixId == null || middleId == null) return null;
  return { prefixId, suffixId, middleId };
}

function readTokenTypes(metadata: GgufMetadata, vocab: number): Int32Array {
  const key = 'tokenizer.ggml.token_type';
  const types = optionalNumbers(metadata, key, ['i32', 'u32']);
  if (types === null) return new Int32Array(vocab).fill(TOKEN_NORMAL);
  if (types.length !== vocab) throw metadataInvalid(key, `has ${types.length} entries for ${vocab} tokens`);
  const checked = Int32Array.from(types);
  const wrong = checked.findIndex((type) => type < 0 || type > TOKEN_TYPE_MAX);
  if (wrong >= 0) throw metadataInvalid(key, `token ${wrong} has the unknown type ${types[wrong]}`);
  return checked;
}

function readScores(metadata: GgufMetadata, vocab: number): Float32Array | null {
  const key = 'tokenizer.ggml.scores';
  const scores = optionalNumbers(metadata, key, ['f32']);
  if (scores === null) return null;
  if (scores.length !== vocab) throw metadataInvalid(key, `has ${scores.length} entries for ${vocab} tokens`);
  const checked = Float32Array.from(scores);
  const wrong = checked.findIndex((score) => !Number.isFinite(score));
  if (wrong >= 0) throw metadataInvalid(key, `token ${wrong} has the score ${scores[wrong]}`);
  return checked;
}

function readMerges(metadata: GgufMetadata, isRequired: boolean): readonly string[] {
  const key = 'tokenizer.ggml.merges';
  const merges = optionalStrings(metadata, key);
  if (merges === null) {
    if (isRequired) throw metadataInvalid(key, 'is missing');
    return [];
  }
  const wrong = merges.findIndex((merge) => {
    const space = merge.indexOf(' ', 1);
    return space < 0 || space === merge.length - 1;
  });
  if (wrong >= 0) throw metadataInvalid(key, `entry ${wrong} is not two parts with a space between them`);
  return merges;
}

function endIdsByText(tokens: readonly string[], tokenTypes: Int32Array): number[] {
  const ids: number[] = [];
  tokens.forEach((token, id) => {
    const type = tokenTypes[id];
    if ((type === TOKEN_CONTROL || type === TOKEN_USER_DEFINED) && endTexts.has(token)) ids.push(id);
  });
  return ids;
}
