/** The models of a comparison, as the command line names them. */
import { basename } from 'node:path';
import { InvalidArgumentError } from 'commander';
import type { ActivationFormat, KvFormat } from '../../../native/contract.js';
import type { EvalChanges } from '../session.js';

/** A model file, and how it is computed where that differs from the other settings. */
export type Contender = {
  /** What reports call it: the file's name and its settings. */
  readonly name: string;
  readonly changes: EvalChanges & { readonly model: string };
};

const activationFormats: readonly ActivationFormat[] = ['a8', 'f32'];
const kvFormats: readonly KvFormat[] = ['f16', 'kv8', 'k8v4', 'kv4'];

function oneOf<T extends string>(known: readonly T[], key: string, text: string): T {
  const found = known.find((name) => name === text);
  if (found === undefined) throw new InvalidArgumentError(`${key} must be one of: ${known.join(', ')}.`);
  return found;
}

function readSetting(text: string): EvalChanges {
  const [key, value = ''] = text.split('=');
  if (key === 'activations') return { activations: oneOf(activationFormats, key, value) };
  if (key === 'kv') return { kv: oneOf(kvFormats, key, value) };
  throw new InvalidArgumentError(`'${text}' is neither activations=… nor kv=….`);
}

/** `FILE`, or `FILE#activations=f32&kv=kv8`: one file may compete on several paths. */
export function readContender(text: string): Contender {
  const [model = '', settings = ''] = text.split('#', 2);
  if (model === '') throw new InvalidArgumentError('a model file is missing.');
  const changes = settings === '' ? {} : Object.assign({}, ...settings.split('&').map(readSetting));
  const name = basename(model).replace(/\.gguf$/i, '');
  return { name: settings === '' ? name : `${name}#${settings}`, changes: { ...changes, model } };
}

/** Comma-separated contenders; those of one name are told apart by their number. */
export function readContenders(text: string): readonly Contender[] {
  const found = text.split(',').map((part) => readContender(part.trim()));
  return found.map((contender, i) => {
    const isRepeated = found.some(({ name }, other) => other < i && name === contender.name);
    return isRepeated ? { ...contender, name: `${contender.name} (${i + 1})` } : contender;
  });
}
